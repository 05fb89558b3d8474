"""The ``ui-config.json`` that the hosts wrote with version 0.1's panel sets the same controls of today's.

The hosts find a control by its tab and its label; a control with another label starts with its own default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError
from lib_sdfm.schema.payload import resolve_job
from tests.test_upgrade import recorded, require_nothing_lost, told
from tests.webui.host import FakeModules

pytestmark = pytest.mark.panel
TABS = ("txt2img", "img2img")
BOUNDS = ("minimum", "maximum", "step")


class HostPanel:
    """The panel of one tab, with the names that the hosts have for what is in it."""

    def __init__(self, folder: Path, tab: str) -> None:
        script = FakeModules(folder).script_classes()["SdfmScript"]()
        script.is_img2img = tab == "img2img"
        with gr.Blocks() as blocks:
            self.inputs = script.ui(script.is_img2img)
        self.by_name: dict[str, Any] = {}
        for block in blocks.blocks.values():
            if isinstance(block, gr.Button):
                self.by_name.setdefault(f"{tab}/{block.value}", block)
        for control in self.inputs:
            if not getattr(control, "do_not_save_to_config", False):
                self.by_name.setdefault(f"customscript/sdfm.py/{tab}/{control.label}", control)

    def entries(self, tab: str) -> dict[str, tuple[str, str, Any]]:
        """The entries of the old file for this tab: by their key the control's name, the attribute and the value."""
        found = {key: (*key.rsplit("/", 1), value) for key, value in recorded("ui-config.json").items()}
        return {key: entry for key, entry in found.items() if tab in key.split("/")}


@pytest.fixture(params=TABS)
def tab(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def panel(tmp_path: Path, tab: str) -> HostPanel:
    return HostPanel(tmp_path, tab)


def test_every_entry_still_names_a_control(panel: HostPanel, tab: str):
    entries = panel.entries(tab)
    assert len(entries) > 400
    names = sorted({name for name, _, _ in entries.values()} - set(panel.by_name))
    require_nothing_lost([f"ui-config.json: no control is called {name} any more" for name in names])


def test_every_value_and_every_bound_is_still_possible(panel: HostPanel, tab: str):
    fields = dict(zip(map(id, panel.inputs), SCHEMA.positional))
    lost = []
    for key, (name, attribute, value) in panel.entries(tab).items():
        control = panel.by_name.get(name)
        field = fields.get(id(control))
        if field is None or attribute == "visible":
            continue
        if attribute in BOUNDS and not isinstance(control, gr.Slider):
            lost.append(f"{key}: it is no slider any more")
        elif attribute != "step":
            try:
                field.param.check(value)
            except SettingError as error:
                lost.append(f"{key}: {error}")
    require_nothing_lost(lost)


def test_the_panel_starts_with_the_settings_of_the_file(panel: HostPanel, tab: str):
    """The hosts put the values into the controls before the page is shown; choices only if they are offered."""
    lost = []
    for key, (name, attribute, value) in panel.entries(tab).items():
        control = panel.by_name.get(name)
        offered = [choice[0] if isinstance(choice, tuple) else choice for choice in getattr(control, "choices", None) or ()]
        if attribute == "value" and offered and value not in offered:
            lost.append(f"{key}: {value!r} is not offered any more")
        elif control is not None:
            setattr(control, attribute, value)
    values = [control.value for control in panel.inputs]
    lost += told("ui-config.json", "everything at once", lambda: resolve_job(SCHEMA, values).settings)
    require_nothing_lost(lost)
