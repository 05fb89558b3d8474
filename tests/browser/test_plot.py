"""The plot of the run in both tabs: it follows what somebody types, and nothing in it becomes markup."""

from __future__ import annotations

import re

import pytest

from .conftest import under

PLOT = "div.sdfm-run[id=script_{tab}_sdfm_plot] .sdfm-plot"
TEXT = (
    "a house\nSteps: 20, Sampler: Euler, Schedule type: Karras, CFG scale: 5, Seed: 1, Size: 128x128, PAG Active: True, "
    "PAG Scale: 3, PAG Start Step: 2, PAG End Step: 12, CFG Interval Enable: True, CFG Interval Schedule: Linear, SDFM: 1"
)
EVIL = "<img src=x onerror=\"window.evil = 'yes'\">"


class Plot:
    """Return the drawing in the present tab."""

    def __init__(self, panel) -> None:
        self.panel, self.page = panel, panel.page

    @property
    def place(self) -> str:
        return PLOT.format(tab=self.panel.tab)

    def wait(self, word: str) -> str:
        """Until the plot has a word."""
        self.page.wait_for_function(
            "([place, word]) => [...document.querySelectorAll(place)].some((plot) => plot.innerHTML.includes(word))",
            arg=[self.place, word],
        )
        self.panel.settle()
        return self.page.inner_html(f"{self.place} >> nth=0")

    def scales(self) -> list[float]:
        path = self.page.get_attribute(f"{self.place} .sdfm-plot-scale path >> nth=0", "d")
        return [float(value) for value in re.findall(r"V([\d.]+)H", path)]


@pytest.fixture
def drawn(panel) -> Plot:
    panel.settle()
    yield Plot(panel)
    panel.show("txt2img")


def type_into(panel, id: str, text: str) -> None:
    """With keys, as a user does: the old number is marked first."""
    panel.page.click(f"#{id} input[type=number]", click_count=3)
    panel.page.keyboard.type(text)


@pytest.mark.parametrize(("panel", "tab"), [("gradio4", "txt2img"), ("gradio3", "img2img")], indirect=["panel"])
def test_it_follows_a_pasted_text_and_what_is_typed(panel, drawn: Plot, tab: str):
    panel.show(tab)
    if tab == "img2img" and not panel.page.is_visible(f"#{panel.control_id('plot')} >> nth=0"):
        panel.open(panel.control_id("panel"))
    panel.paste(TEXT)
    drawn.wait(">PAG<")
    html = drawn.wait("20 steps, Euler" if tab == "txt2img" else "Euler")
    assert len(drawn.scales()) == (20 if tab == "txt2img" else 16)  # img2img makes three quarters of the steps, and one
    assert max(drawn.scales()) > 5 and '<rect x="2" width="11"' in html
    type_into(panel, f"{tab}_cfg_scale", "2")
    drawn.wait("\N{RIGHTWARDS ARROW}")
    type_into(panel, f"{tab}_steps", "8")
    drawn.wait("8 steps" if tab == "txt2img" else "7 steps")
    assert max(drawn.scales()) <= 4
    panel.paste("a\nSteps: 20, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128")
    panel.settle()
    assert ">PAG<" not in drawn.wait("Euler")


@under("gradio3")
def test_a_hires_pass_and_a_refiner_are_shown(panel, drawn: Plot):
    page = panel.page
    panel.paste(f"{TEXT}, Denoising strength: 0.5, Hires upscale: 2, Hires steps: 6, Hires upscaler: Latent")
    page.click("#txt2img_enable > .label-wrap")
    try:
        page.fill("#txt2img_prompt textarea", f"[red:{EVIL}:refiner] house")
        page.fill("#txt2img_checkpoint input", "shapes-ink")
        page.keyboard.press("Enter")
        html = drawn.wait("shapes-ink")
        assert "First pass: 20 steps" in html and "Hires pass: 6 steps" in html
        drawn.wait("then")
        assert "&lt;img src=x" in drawn.wait("&lt;img") and page.evaluate("window.evil") is None
    finally:
        page.click("#txt2img_enable > .label-wrap")
        panel.paste("a\nSteps: 20, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128")
        page.fill("#txt2img_prompt textarea", "")
        panel.settle()
