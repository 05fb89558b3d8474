"""The panel's row of presets: one that is chosen is loaded, with a list of what it changes."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from lib_sdfm.errors import UserError
from lib_sdfm.schema.changes import changes, moved
from lib_sdfm.schema.host_values import LABELS
from lib_sdfm.schema.presets import PresetStore
from lib_sdfm.schema.settings import Schema, Values

from .events import QUIET, ask_by_script, hidden_button, tell_and_ask

HOST_IDS = {
    "sampler_name": "{tab}_sampling", "scheduler": "{tab}_scheduler", "steps": "{tab}_steps", "cfg_scale": "{tab}_cfg_scale",
    "negative_prompt": "{tab}_neg_prompt",
}  # fmt: skip
"""The host's controls whose values a preset may carry, by the API's names."""
NAMES = "script_{tab}_sdfm_presets_names"
"""Id of the hidden button that brings a tab's list of names up to date."""
NOTHING = "Nothing changed."
Before = tuple[str, Sequence[Any]] | None
SAVE, OVERWRITE, DELETE, REALLY = "Save", "Overwrite", "Delete", "Really delete"


@dataclass(frozen=True)
class PresetRow:
    """The row's id and its components.

    :param also: the switch for values of the host's controls
    :param action: hidden: the last action
    :param asked: hidden: what a button was pressed for that wants a second press
    :param before: the preset that was loaded last, and the values before, for :attr:`undo`
    """

    id: str
    name: Any
    load: Any
    save: Any
    delete: Any
    reset: Any
    undo: Any
    also: Any
    action: Any
    asked: Any
    before: Any
    message: Any


def build_preset_row(presets: PresetStore, elem_id: Callable[[str], str]) -> PresetRow:
    """Build the components."""
    id = elem_id("presets")
    with gr.Row(elem_id=id, elem_classes=["sdfm-presets"]):
        name = gr.Dropdown(
            _names(presets), value=None, label="Preset", elem_id=elem_id("preset"), allow_custom_value=True, scale=4,
            min_width=200, info="Choose a preset to load it, or type a new name and press Save to keep the current settings.",
        )  # fmt: skip
        buttons = [
            gr.Button(text, elem_id=elem_id(f"preset_{text.lower()}"), size="sm", min_width=60, scale=1)
            for text in ("Load", SAVE, DELETE, "Reset", "Undo")
        ]
    also = gr.Checkbox(
        True, label="Also set sampler, schedule, steps, CFG scale and negative prompt", elem_id=elem_id("preset_also"),
    )  # fmt: skip
    action, asked = (
        gr.Textbox("", visible=False, label=text, elem_id=elem_id(f"preset_{text}")) for text in ("action", "asked")
    )
    before = gr.State(None)
    message = gr.HTML("", elem_id=elem_id("preset_message"))
    for control in (name, also, action, asked):
        control.do_not_save_to_config = True
    return PresetRow(id, name, *buttons, also, action, asked, before, message)


@dataclass(frozen=True)
class Answer:
    """The changes that an action makes.

    :param message: HTML, ``None`` for the one that is there
    :param values: new values of the panel, ``None`` to leave it
    :param host: new values of the host's controls, by the API's names
    :param before: what undo gives back from now on, ``None`` for nothing
    :param keeps_before: true if undo gives back what it did before
    :param asked: the action that wants a second press
    """

    message: str | None
    values: Values | None = None
    host: Mapping[str, Any] = field(default_factory=dict)
    before: Before = None
    keeps_before: bool = True
    asked: str = ""


class PresetActions:
    """The row's actions, given the values of the panel and of the host.

    :param host: the host's controls by the API's names
    :param inputs: the panel's controls in positional order
    :param cleared: number of components with notes on pasted parameters
    """

    def __init__(
        self, schema: Schema, presets: PresetStore, host: Mapping[str, Any], inputs: Sequence[Any], cleared: int
    ) -> None:
        self._schema, self._presets, self._host, self._count = schema, presets, host, len(inputs)
        self._cleared = cleared

    def act(self, action: str, asked: str, before: Before, name: str | None, also: bool, *values: Any) -> list[Any]:
        """Do what the hidden control says; returns the components of :func:`connect_preset_row`, in their order."""
        text = (name or "").strip()
        try:
            return self._shown(self._done(action, asked, before, text, also, values))
        except UserError as error:
            return self._shown(Answer(_message(str(error))))

    def names(self) -> Any:
        """Return the present names for the list."""
        return gr.update(choices=_names(self._presets))

    def _done(self, action: str, asked: str, before: Before, name: str, also: bool, values: Sequence[Any]) -> Answer:
        """Return what an action changes.

        :raises UserError: for a name that there is none of, or values that aren't allowed
        """
        if action == "undo":
            return self._undo(before)
        if action == "reset":
            return self._changed(("", values), self._schema.defaults(), {}, [])
        if action == "save":
            return self._save(name, asked, also, values)
        if action == "delete":
            return self._delete(name, asked)
        if action == "choose" and name not in self._presets.names():
            return Answer(_message(f"Press {SAVE} to keep the current settings as {_quoted(name)}.") if name else "")
        answer = self._load(name, also, values)
        told_already = action == "choose" and NOTHING in answer.message and before is not None and before[0] == name
        return Answer(None) if told_already else answer  # gradio 3 tells of a choice twice

    def _load(self, name: str, also: bool, values: Sequence[Any]) -> Answer:
        preset, after = self._presets.get(name), self._presets.values(name)
        wanted = preset.host if also else {}
        fitting = {field: value for field, value in wanted.items() if _offers(self._host.get(field), value)}
        lacking = [f"{LABELS[field]} {wanted[field]}" for field in wanted if field in self._host and field not in fitting]
        return self._changed(
            (preset.name, values), after, fitting, [preset.about, *(f"This WebUI has no {n}." for n in lacking)]
        )

    def _changed(self, before: tuple[str, Sequence[Any]], after: Values, host: Mapping[str, Any], notes: list[str]) -> Answer:
        """Return new values, with the list of what they change."""
        was = self._own(before[1])
        lines = changes(self._schema, self._settings(before[1]), after)
        lines += [f"{LABELS[field]} {moved(was[field], value)}" for field, value in host.items() if was[field] != value]
        return Answer(_message(*notes, changed=lines), after, host, (before[0], list(before[1])), keeps_before=False)

    def _undo(self, before: Before) -> Answer:
        if before is None:
            return Answer(_message("There is nothing to undo."))
        return Answer("", self._settings(before[1]), self._own(before[1]), keeps_before=False)

    def _save(self, name: str, asked: str, also: bool, values: Sequence[Any]) -> Answer:
        if self._presets.is_own(name) and asked != f"{SAVE} {name}":
            note = f"{_quoted(name)} already exists. Press {OVERWRITE} to replace it; nothing has changed yet."
            return Answer(_message(note), asked=f"{SAVE} {name}")
        host = {field: value for field, value in self._own(values).items() if value is not None} if also else {}
        self._presets.save(name, self._settings(values), host)
        return Answer(_message(f"{_quoted(name)} is saved."))

    def _delete(self, name: str, asked: str) -> Answer:
        if self._presets.is_own(name) and asked != f"{DELETE} {name}":
            return Answer(_message(f"Delete {_quoted(name)}? This can't be undone."), asked=f"{DELETE} {name}")
        self._presets.delete(name)
        return Answer(_message(f"{_quoted(name)} is deleted."))

    def _shown(self, answer: Answer) -> list[Any]:
        """Return the updates of all components."""
        same = gr.update()
        shown = None if answer.values is None else self._schema.shown(answer.values)
        panel = [same if shown is None else gr.update(value=shown[field.id]) for field in self._schema.fields]
        cleared = [same if shown is None else ""] * self._cleared
        host = [gr.update(value=answer.host[field]) if field in answer.host else same for field in self._host]
        save = gr.update(value=OVERWRITE if answer.asked.startswith(SAVE) else SAVE)
        delete = gr.update(value=REALLY if answer.asked.startswith(DELETE) else DELETE)
        message, before = same if answer.message is None else answer.message, same if answer.keeps_before else answer.before
        return [*panel, *cleared, *host, message, before, save, delete, answer.asked]

    def _settings(self, values: Sequence[Any]) -> Values:
        return self._schema.from_positional(values[: self._count])

    def _own(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the host's values by the API's names."""
        return dict(zip(self._host, values[self._count :]))


def connect_preset_row(
    schema: Schema,
    presets: PresetStore,
    row: PresetRow,
    inputs: Sequence[Any],
    controls: Sequence[Any],
    pasted: Sequence[Any],
    host: Mapping[str, Any],
    tab: str,
) -> None:
    """Connect the row, once the host's controls exist.

    :param inputs: the panel's controls in positional order
    :param controls: the controls of the schema's fields, in their order
    :param pasted: components with notes on the last pasted parameters, which are cleared
    :param host: the host's controls of :data:`HOST_IDS` that there are
    """
    actions = PresetActions(schema, presets, host, inputs, len(pasted))
    ask, everywhere = f"{row.id}_ask", [NAMES.format(tab=name) for name in ("txt2img", "img2img")]
    ask_by_script(
        ask,
        {"save": everywhere, "delete": everywhere},
        row.action,
        fn=actions.act,
        inputs=[row.action, row.asked, row.before, row.name, row.also, *inputs, *host.values()],
        outputs=[*controls, *pasted, *host.values(), row.message, row.before, row.save, row.delete, row.asked],
    )
    buttons = [row.load, row.save, row.delete, row.reset, row.undo]
    tell_and_ask("click", buttons, 'sdfmPressed().split("_").pop()', row.action, ask)
    tell_and_ask("input", [row.name], '"choose"', row.action, ask)
    hidden_button(NAMES.format(tab=tab)).click(fn=actions.names, inputs=[], outputs=[row.name], **QUIET)


def _names(presets: PresetStore) -> list[str]:
    try:
        return presets.names()
    except UserError as error:  # a damaged file must not take the panel down; saving and deleting tell
        print(f"SDFM: {error}")
        return presets.shipped_names()


def _offers(control: Any, value: Any) -> bool:
    """Return True if a control of the host takes a value: a list has to contain it."""
    if control is None:
        return False
    choices = getattr(control, "choices", None)
    return choices is None or value in [choice[-1] if isinstance(choice, tuple | list) else choice for choice in choices]


def _quoted(name: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def _message(*texts: str, changed: Sequence[str] | None = None) -> str:
    """Return a notice of paragraphs, and the list of what has changed."""
    said = "".join(f"<p>{html.escape(text)}</p>" for text in texts if text)
    if changed is not None:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in changed)
        said += f"<p>Changed:</p><ul>{lines}</ul>" if lines else f"<p>{NOTHING}</p>"
    return f'<div class="sdfm-note">{said}</div>'
