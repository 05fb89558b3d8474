"""Scripts of extensions, and the runner that calls them. Errors in their callbacks are reported and swallowed."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors, extensions, paths, script_callbacks, script_loading

AlwaysVisible = object()
ScriptFile = extensions.ScriptFile
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data: list[ScriptClassData] = []
_current_basedir: list[str] = [paths.script_path]


@dataclass
class PostSampleArgs:
    samples: Any


@dataclass
class PostprocessImageArgs:
    image: Any


def basedir() -> str:
    """Of the extension whose script is being loaded. Extensions keep files there: with ``SDFM_DEMO_DATA`` it is that folder."""
    return os.environ.get("SDFM_DEMO_DATA", _current_basedir[-1])


class Script:
    """The base class of extensions' scripts. Callbacks that a class doesn't override are not called."""

    name: str | None = None
    section: str | None = None
    filename: str | None = None
    args_from = 0
    args_to = 0
    alwayson = False
    is_img2img = False
    tabname: str | None = None
    group: Any = None
    create_group = True
    infotext_fields: list[Any] | None = None
    paste_field_names: list[Any] | None = None
    api_info: Any = None
    setup_for_ui_only = False
    controls: list[Any] | None = None

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> list[Any] | None:
        return None

    def show(self, is_img2img: bool) -> Any:
        """False: hidden; True: in the dropdown; AlwaysVisible."""
        return True

    def run(self, p: Any, *args: Any) -> Any:
        """Of a script of the dropdown, in place of ``process_images``."""

    def _callback(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    setup = before_process = process = before_process_batch = process_batch = process_before_every_sampling = _callback
    before_hr = post_sample = postprocess_batch = postprocess_image = postprocess = _callback

    def elem_id(self, item_id: str) -> str:
        """An id that names script and, where it stands in both tabs, the tab."""
        tab = ("img2img_" if self.is_img2img else "txt2img_") if self.show(True) == self.show(False) else ""
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{tab}{title}_{item_id}"


class ScriptBuiltinUI(Script):
    """A part of the panel itself; its ``setup`` is not called for the API, which sets the same fields directly."""

    setup_for_ui_only = True

    def elem_id(self, item_id: str) -> str:
        return f"{self.tabname}_{item_id}"

    def show(self, is_img2img: bool) -> Any:
        return AlwaysVisible


def list_scripts(folder: str, extension: str) -> list[ScriptFile]:
    """The host's own files, then those of the extensions."""
    own = extensions.Extension(paths.script_path).list_files(folder, extension)
    return own + [file for item in extensions.active() for file in item.list_files(folder, extension)]


def list_files_with_name(filename: str) -> list[str]:
    """A file such as style.css of each extension that has it."""
    found = [os.path.join(folder, filename) for folder in (paths.script_path, *(item.path for item in extensions.active()))]
    return [path for path in found if os.path.isfile(path)]


def load_scripts() -> None:
    """Executes all script files (again, with "Reload UI"): callbacks and classes of before are forgotten."""
    global scripts_txt2img, scripts_img2img
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    for file in list_scripts("modules/processing_scripts", ".py") + list_scripts("scripts", ".py"):
        _load_file(file)
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()


def _load_file(file: ScriptFile) -> None:
    path_before = sys.path
    _current_basedir.append(file.basedir)
    try:
        if file.basedir != paths.script_path:  # an extension's folder is importable while its scripts load
            sys.path = [file.basedir, *sys.path]
        module = script_loading.load_module(file.path)
        for item in vars(module).values():
            if inspect.isclass(item) and issubclass(item, Script):
                scripts_data.append(ScriptClassData(item, file.path, file.basedir, module))
    except Exception:
        errors.report(f"The script {file.filename} could not be loaded", exc_info=True)
    finally:
        sys.path = path_before
        _current_basedir.pop()


def wrap_call(func: Callable[..., Any], filename: str, funcname: str, *args: Any, default: Any = None, **kwargs: Any) -> Any:
    """Calls; an error is reported and gives the default."""
    try:
        result = func(*args, **kwargs)
    except Exception:
        errors.report(f"{funcname} of {filename} failed", exc_info=True)
        result = default
    return result


from modules.script_runner import ScriptRunner  # noqa: E402 - it needs the classes above

scripts_txt2img: ScriptRunner | None = None
scripts_img2img: ScriptRunner | None = None
