"""Hidden scripts under the originals' titles, so that their payloads keep working."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lib_sdfm.schema.originals import OLD_ENTRIES, OldEntry
from lib_sdfm.schema.titles import ALL_ENTRIES

ASIDE = "SDFM stands aside for {}"


def entry_classes(scripts: Any) -> dict[str, type]:
    """Return one script class per old title, by the class' name.

    :param scripts: the host's ``modules.scripts``
    """
    classes = [_entry_class(scripts, entry) for entry in ALL_ENTRIES]
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
    """Return True if the extension that we replace is also installed: then its own script has the title."""
    runners = (scripts.scripts_txt2img, scripts.scripts_img2img)
    return any(_original(script) is entry for runner in runners for script in getattr(runner, "scripts", ()))


def _original(script: Any) -> OldEntry | None:
    """Return the entry whose original a foreign script is, if any."""
    if hasattr(script, "entry"):
        return None
    title = str(script.title()).lower()
    return next((entry for entry in ALL_ENTRIES if entry.title.lower() == title), None)


def installed_originals(scripts: Any) -> list[str]:
    """Return the titles of the originals that are also installed."""
    return [entry.title for entry in OLD_ENTRIES if original_installed(scripts, entry)]


def originals_notice(titles: list[str]) -> str:
    """Return the panel's notice about them, as HTML."""
    if not titles:
        return ""
    return (
        f"<p>Also installed: {', '.join(titles)}. They receive old payloads, and what is on both there and here is "
        "refused. Disable them in the Extensions tab.</p>"
    )


def old_payloads(scripts: Any, p: Any) -> list[tuple[OldEntry, Sequence[Any]]]:
    """Return a job's arguments for old titles."""
    ours = [(getattr(script, "entry", None), args) for script, args in scripts_of(p)]
    return [(entry, args) for entry, args in ours if isinstance(entry, OldEntry) and not original_installed(scripts, entry)]


def rivals(p: Any) -> list[tuple[OldEntry, Sequence[Any]]]:
    """Return a job's arguments for originals that are installed themselves."""
    theirs = [(_original(script), args) for script, args in scripts_of(p)]
    return [(entry, args) for entry, args in theirs if entry in OLD_ENTRIES]


def scripts_of(p: Any) -> list[tuple[Any, Sequence[Any]]]:
    """Return the always-on scripts of a job with their arguments."""
    scripts = getattr(getattr(p, "scripts", None), "alwayson_scripts", ())
    return [(script, p.script_args[script.args_from : script.args_to]) for script in scripts]
