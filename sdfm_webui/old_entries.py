"""Hidden scripts under the originals' titles, so that their payloads keep working."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lib_sdfm.schema.originals import OLD_ENTRIES, OldEntry

ASIDE = "SDFM stands aside for {}"


def entry_classes(scripts: Any) -> dict[str, type]:
    """One script class per old title, by the class' name.

    :param scripts: the host's ``modules.scripts``
    """
    classes = [_entry_class(scripts, entry) for entry in OLD_ENTRIES]
    return {cls.__name__: cls for cls in classes}


def _entry_class(scripts: Any, old_entry: OldEntry) -> type:
    class SdfmOldEntry(scripts.Script):
        entry = old_entry
        create_group = False

        def title(self) -> str:
            return ASIDE.format(self.entry.title) if original_installed(scripts, self.entry) else self.entry.title

        def show(self, is_img2img: bool) -> object:
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            controls = [gr.Textbox("", visible=False, label=f"{self.entry.title} {i}") for i in range(self.entry.size)]
            for control in controls:
                control.do_not_save_to_config = True
            return controls

    SdfmOldEntry.__name__ = "Old" + "".join(filter(str.isalnum, old_entry.title))
    return SdfmOldEntry


def original_installed(scripts: Any, entry: OldEntry) -> bool:
    """Whether the extension that we replace is installed as well: then its own script answers to the title."""
    for runner in (scripts.scripts_txt2img, scripts.scripts_img2img):
        for script in getattr(runner, "scripts", ()):
            if not hasattr(script, "entry") and str(script.title()).lower() == entry.title.lower():
                return True
    return False


def installed_originals(scripts: Any) -> list[str]:
    """Titles of the originals that are installed beside us."""
    return [entry.title for entry in OLD_ENTRIES if original_installed(scripts, entry)]


def originals_notice(titles: list[str]) -> str:
    """What the panel says about them, as HTML."""
    if not titles:
        return ""
    return (
        f"<p>Also installed: {', '.join(titles)}. Old payloads go to them, and what is on both there and here is "
        "refused. Switch them off in the Extensions tab.</p>"
    )


def old_payloads(scripts: Any, p: Any) -> list[tuple[OldEntry, Sequence[Any]]]:
    """The arguments that a job has for old titles."""
    runner = getattr(p, "scripts", None)
    found = []
    for script in getattr(runner, "alwayson_scripts", ()):
        entry = getattr(script, "entry", None)
        if isinstance(entry, OldEntry) and not original_installed(scripts, entry):
            found.append((entry, p.script_args[script.args_from : script.args_to]))
    return found


def rivals(p: Any) -> list[tuple[OldEntry, Sequence[Any]]]:
    """The arguments that a job has for originals which are installed themselves."""
    entries = {entry.title.lower(): entry for entry in OLD_ENTRIES}
    found = []
    for script in getattr(getattr(p, "scripts", None), "alwayson_scripts", ()):
        entry = None if hasattr(script, "entry") else entries.get(str(script.title()).lower())
        if entry is not None:
            found.append((entry, p.script_args[script.args_from : script.args_to]))
    return found
