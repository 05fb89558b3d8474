"""Presets in both tabs: chosen with keys, saved, listed after a reload, overwritten and deleted on a second press."""

from __future__ import annotations

from uuid import uuid4

import pytest

from .conftest import under

EVIL = f"<img src=x onerror=\"window.evil = '{uuid4().hex[:8]}'\">"
"""A name that no earlier run of these tests has left behind."""
PLAIN = "Steps: 20, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 128x128"


class Presets:
    """The row of the present tab."""

    def __init__(self, panel) -> None:
        self.panel, self.page = panel, panel.page

    def id(self, name: str) -> str:
        return f"#{self.panel.control_id(f'preset{name}')}"

    def choose(self, text: str) -> None:
        """Types a name and takes it."""
        self.page.click(f"{self.id('')} input")
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")

    def press(self, name: str) -> None:
        self.page.click(self.id(f"_{name}"))

    def wait(self, words: str) -> str:
        """Until the message has these words."""
        told = f"{self.id('_message')} p >> nth=0"
        self.page.wait_for_function(
            "([id, words]) => [...document.querySelectorAll(id)].some((one) => one.innerText.includes(words))",
            arg=[self.id("_message"), words],
        )
        self.panel.settle()
        return self.page.inner_text(told)

    def offered(self) -> list[str]:
        """The names in the list, as it opens."""
        self.page.click(f"{self.id('')} input")
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Backspace")
        self.page.wait_for_selector(f"{self.id('')} ul li")
        names = [
            name.replace("\N{CHECK MARK}", "").strip() for name in self.page.locator(f"{self.id('')} ul li").all_inner_texts()
        ]
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Tab")
        self.panel.settle()
        return names

    def values(self, *names: str) -> list:
        tab = self.panel.tab
        ids = [self.panel.control_id(name) if name.startswith("pag") else f"{tab}_{name}" for name in names]
        return list(self.panel.read(ids).values())


@pytest.fixture
def presets(panel) -> Presets:
    panel.paste(PLAIN)
    panel.settle()
    yield Presets(panel)
    panel.show("txt2img")


def test_choosing_one_loads_it_and_undo_takes_it_back(panel, presets: Presets):
    presets.choose("Flow matching with PAG (bigASP v2.5)")
    presets.wait("PAG on")
    assert presets.values("pag-checkbox", "sampling", "scheduler", "cfg_scale", "neg_prompt") == [
        True, "Euler", "Normal", "3", "low quality",
    ]  # fmt: skip
    presets.press("undo")
    panel.page.wait_for_function("(id) => document.querySelector(id).innerText.trim() === ''", arg=presets.id("_message"))
    panel.settle()
    assert presets.values("pag-checkbox", "sampling", "cfg_scale", "neg_prompt") == [False, "DPM++ 2M", "7", ""]


@under("gradio4")
def test_values_of_the_webui_can_be_left_alone(panel, presets: Presets):
    panel.page.click(f"{presets.id('_also')} input")
    presets.choose("PAG")
    presets.wait("PAG on")
    assert presets.values("pag-checkbox", "cfg_scale") == [True, "7"]
    panel.page.click(f"{presets.id('_also')} input")
    presets.press("reset")
    presets.wait("PAG off")


def test_saved_ones_are_in_both_tabs_and_after_a_reload(panel, presets: Presets):
    page = panel.page
    presets.choose(EVIL)
    presets.wait("Press Save to keep the current settings")
    presets.press("save")
    presets.wait("is saved")
    assert EVIL in presets.offered()
    panel.show("img2img")
    if not page.is_visible(f"#{panel.control_id('presets')}"):
        panel.open(panel.control_id("panel"))
    assert EVIL in presets.offered()
    panel.show("txt2img")
    page.reload()
    page.wait_for_selector(".visible-switch", state="attached")
    panel.tab = "txt2img"
    panel.open(panel.control_id("panel"))
    page.wait_for_timeout(600)  # the list is asked for half a second after the page is there
    panel.settle()
    assert EVIL in presets.offered()
    presets.choose(EVIL)
    presets.wait("Nothing changed")
    presets.press("save")
    presets.wait("nothing has changed yet")
    assert page.inner_text(presets.id("_save")) == "Overwrite"
    presets.press("save")
    presets.wait("is saved")
    presets.press("delete")
    presets.wait("can't be undone")
    presets.press("delete")
    presets.wait("is deleted")
    assert EVIL not in presets.offered() and page.evaluate("window.evil") is None
