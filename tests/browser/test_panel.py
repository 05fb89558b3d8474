"""The panel as a user sees it: title and switch, parts, labels, help, and what one control does to others."""

from __future__ import annotations

import json

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.feature import PARTS

from .conftest import under

PLAIN = "a\nSteps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128"
PANEL = "#script_txt2img_sdfm_panel"
EVIL = "<img src=x onerror=\"window.evil = 'yes'\">"
SIGN = "\N{WARNING SIGN}"
LABELS = """(panel) => [...document.querySelectorAll(`${panel} .input-accordion`)].map((fold) => [
    fold.querySelector("[data-sdfm-prefixes]").dataset.sdfmPrefixes,
    [...fold.querySelectorAll("[data-testid=block-info], .block > label > span")].map((title) => title.textContent.trim()),
])"""
"""The labels in each technique, with the beginnings that they shall not have."""


class View:
    """The panel of txt2img, open, with nothing on."""

    def __init__(self, panel) -> None:
        self.panel, self.page = panel, panel.page

    def id(self, name: str) -> str:
        return f"#script_txt2img_sdfm_{name}"

    def title(self, *words: str, without: str = "\0") -> str:
        """Wait until the title has all words."""
        self.page.wait_for_function(
            """([title, words, without]) => {
                const text = document.querySelector(title).innerText;
                return words.every((word) => text.includes(word)) && !text.includes(without);
            }""",
            arg=[f"{PANEL} > .label-wrap", list(words), without],
        )
        return self.page.inner_text(f"{PANEL} > .label-wrap")

    def toggle(self, technique: str) -> None:
        self.page.click(f"{self.id(technique)} > .label-wrap")

    def open_group(self, name: str) -> None:
        self.page.click(f"{self.id(name)} > .label-wrap")

    def type_number(self, id: str, text: str) -> None:
        """With real keys; the old number is marked first."""
        self.page.click(f"{id} input[type=number]", click_count=3)
        self.page.keyboard.type(text)

    def value(self, name: str):
        id = f"script_txt2img_sdfm_{name}"
        return self.panel.read([id])[id]

    def wait_value(self, name: str, value) -> None:
        for _ in range(100):
            if self.value(name) == value:
                return
            self.page.wait_for_timeout(20)
        assert self.value(name) == value

    def counts(self) -> dict[str, str]:
        """Number of techniques that are on, as the tabs show it."""
        script = "(nav) => [...document.querySelectorAll(nav)].map((tab) => [tab.innerText.trim(), tab.dataset.sdfmOn || ''])"
        return dict(self.page.evaluate(script, f"{self.id('parts')} > .tab-nav > button"))


CLOSE_GROUPS = """() => document.querySelectorAll(
    "[id$=_advanced] > .label-wrap.open, [id$=_hires_pass] > .label-wrap.open").forEach((label) => label.click())"""
"""Those that a test before has left open."""


@pytest.fixture
def view(panel):
    panel.paste(PLAIN)
    panel.settle()
    panel.page.evaluate(CLOSE_GROUPS)
    shown = View(panel)
    shown.title("SDFM", without=":")
    yield shown
    panel.part(PARTS[0])


def test_one_click_turns_guidance_off_and_on_and_keeps_all_settings(view: View):
    view.toggle("pag")
    view.type_number(view.id("pag_scale"), "2")
    view.title("PAG, about +")
    view.page.click(f"{PANEL} .sdfm-switch")
    view.title("SDFM: off (PAG)")
    text = view.panel.generate()
    assert "PAG" not in text and "Guidance" not in text and "Seed: 1" in text
    view.page.click(f"{PANEL} .sdfm-switch")
    view.title("PAG, about +", without="off")
    assert "PAG Scale: 2" in view.panel.generate()
    view.page.click(f"{PANEL} .sdfm-switch")
    view.panel.paste(PLAIN)
    view.title("SDFM", without=":")
    view.page.wait_for_selector(f"{PANEL} .sdfm-switch:checked")  # a text brings its own guidance


@under("gradio4")
def test_the_title_follows_the_host(view: View):
    view.panel.part("CFG")
    view.toggle("cfg_rescale")
    view.title("CFG rescale, no extra cost")
    view.type_number("#txt2img_cfg_scale", "1")
    view.title("CFG rescale (no effect)")
    assert "has no effect" in view.page.inner_text(f"div{view.id('notes_now')} >> nth=0")
    view.toggle("cfg_rescale")


@under("gradio3")
def test_what_ruins_the_picture_is_marked_and_told_under_it(view: View):
    view.toggle("pag")
    view.panel.part("CFG")
    view.toggle("cfgpp")
    view.title(f"{SIGN} PAG 3 is too strong")
    assert "PAG 3 is too strong with CFG++" in view.panel.generate()
    view.toggle("cfgpp")
    view.title("PAG", without=SIGN)


def test_the_tabs_count_what_is_on(view: View):
    assert list(view.counts()) == list(PARTS) and set(view.counts().values()) == {""}
    view.toggle("pag")
    view.toggle("seg")
    view.panel.part("Details")
    view.toggle("freeu")
    view.title("PAG", "SEG", "FreeU")
    counts = view.counts()
    assert (counts["Perturbed"], counts["CFG"], counts["Details"]) == ("2", "", "1")


def test_labels_are_short_and_help_is_found(view: View):
    view.toggle("pag")
    found = view.page.evaluate(LABELS, PANEL)
    assert len(found) == sum(not t.on_by_default for t in SCHEMA.techniques)
    for prefixes, labels in found:
        begun = tuple(f"{prefix} " for prefix in json.loads(prefixes))
        assert not [label for label in labels if label.startswith(begun)]
        assert not [label for label in labels if "hires pass" in label and not label.startswith("Separate values")]
    assert view.page.inner_text(f"{view.id('pag_scale')} [data-testid=block-info]").strip() == "Scale"
    mark = view.page.locator(f"{view.id('pag_scale')} .sdfm-info")
    assert mark.count() == 1 and mark.get_attribute("title").startswith("Strength")
    text = view.page.locator(f"{view.id('pag_scale')} .sdfm-help")
    assert not text.is_visible()
    mark.click()
    assert text.is_visible()
    mark.click()
    assert not text.is_visible()


def test_layers_are_chosen_or_typed(view: View):
    view.toggle("pag")
    view.open_group("pag_advanced")
    chips = f"[data-sdfm-for={view.id('pag_layers')[1:]}]"
    assert view.page.inner_text(f"{chips} .sdfm-chosen") == "Middle"
    view.page.click(f"{chips} button:has-text('End of the encoder')")
    view.wait_value("pag_layers", "deep")
    view.panel.settle()
    assert view.page.inner_text(f"{chips} .sdfm-chosen") == "End of the encoder"
    view.page.click(f"{view.id('pag_layers')} textarea, {view.id('pag_layers')} input")
    view.page.keyboard.press("Control+a")
    view.page.keyboard.type("output.1", delay=20)
    view.panel.settle()
    assert view.page.locator(f"{chips} .sdfm-chosen").count() == 0
    assert "PAG Layers: output.1" in view.panel.generate()
    view.open_group("pag_advanced")


def test_moving_a_value_of_the_hires_pass_turns_them_on(view: View):
    view.toggle("pag")
    view.open_group("pag_hires_pass")
    assert view.value("pag_hires") is False
    view.type_number(view.id("pag_hires_scale"), "1")
    view.wait_value("pag_hires", True)
    assert view.value("seg_hires") is False and view.value("freeu_hires") is False
    view.open_group("pag_hires_pass")
    assert view.page.locator("#script_img2img_sdfm_pag_hires_pass:visible").count() == 0


def test_a_cfg_schedule_begins_as_an_interval_and_a_pasted_one_stays(view: View):
    view.panel.part("CFG")
    assert view.value("cfg_schedule_schedule") == "Constant"
    view.toggle("cfg_schedule")
    view.wait_value("cfg_schedule_schedule", "Interval")
    view.toggle("cfg_schedule")
    view.panel.paste(f"{PLAIN}, CFG Interval Enable: True, CFG Interval Schedule: Constant, SDFM: 1")
    view.title("CFG schedule (no effect)")
    assert view.value("cfg_schedule_schedule") == "Constant"


def test_what_the_old_extensions_lack_is_disabled(view: View):
    recipe = view.id("recipe")
    assert view.page.inner_text(f"{recipe} [data-testid=block-info]").strip() == "Calculation"
    view.toggle("pag")
    view.open_group("pag_advanced")
    view.type_number(view.id("pag_rescale"), "0.5")
    view.panel.part("CFG")
    view.toggle("apg")
    view.title("PAG, APG")
    view.page.click(f"{recipe} label:has-text('As the old extensions')")
    view.title("as the old extensions", without="APG")
    disabled = "(id) => document.querySelector(id).inert"
    assert all(view.page.evaluate(disabled, view.id(name)) for name in ("apg", "nag", "pag_rescale", "pag_layers"))
    assert not any(view.page.evaluate(disabled, view.id(name)) for name in ("pag", "pag_scale", "dynamic_thresholding"))
    assert "SDFM Recipe: original" in view.panel.generate()
    view.page.click(f"{recipe} label:has-text('By the papers')")
    view.title("PAG, APG", without="old")
    assert not view.page.evaluate(disabled, view.id("apg")) and float(view.value("pag_rescale")) == 0.5
    view.toggle("apg")
    view.panel.part("Perturbed")
    view.open_group("pag_advanced")


@under("gradio4")
def test_remember_asks_before_it_contradicts_detect(view: View):
    view.panel.part("Model")
    view.page.click(view.id("model_detect"))
    message = f"div{view.id('model_message')} >> nth=0"
    says = "([id, word]) => document.querySelector(id).innerText.includes(word)"
    view.page.wait_for_function(says, arg=[view.id("model_message"), "ordinary model"])
    view.toggle("flow")
    view.panel.settle()
    view.page.click(view.id("model_remember"))
    view.page.wait_for_function(says, arg=[view.id("model_message"), "Press Remember again"])
    view.page.click(view.id("model_remember"))
    view.page.wait_for_function(says, arg=[view.id("model_message"), "is remembered as"])
    view.toggle("flow")
    view.panel.settle()
    view.page.wait_for_function(says, arg=[view.id("model_line"), "remembered"])
    view.page.click(view.id("model_forget"))
    view.page.wait_for_function(says, arg=[view.id("model_message"), "forgotten"])
    assert view.page.evaluate("(id) => getComputedStyle(document.querySelector(id)).borderLeftWidth", ".sdfm-note") == "4px"
    assert view.page.inner_text(message)


def test_nothing_that_a_text_contains_is_rendered(view: View):
    key = EVIL.replace('"', "'").replace("'yes'", "1")
    view.panel.paste(
        f"{EVIL}\nNegative prompt: {EVIL}\nSteps: 20, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128, "
        f'PAG Active: True, PAG Layers: "{key}", SDFM: 1'
    )
    view.title(SIGN)
    view.page.wait_for_function("(id) => document.querySelector(id).innerText.includes('<img')", arg=view.id("pasted"))
    assert view.page.evaluate("window.evil") is None
    assert view.page.locator(f"{PANEL} img").count() == 0
    for box in ("prompt", "neg_prompt"):
        view.page.fill(f"#txt2img_{box} textarea", "")


@under("gradio3")
def test_typing_asks_once_it_rests(view: View):
    asked = []
    view.page.on("request", lambda request: asked.append(request) if "/run/predict" in request.url else None)
    view.page.click("#txt2img_prompt textarea")
    view.page.keyboard.type("a house by the sea", delay=20)
    view.panel.settle()
    assert len(asked) <= 4, "one of the title, one of the line about the refiner, and one of each if a key was slow"
    view.page.fill("#txt2img_prompt textarea", "")


@pytest.mark.parametrize(("panel", "theme"), [("gradio3", "light"), ("gradio4", "dark")], indirect=["panel"])
def test_the_panel_fits_a_narrow_page(view: View, theme: str):
    view.page.set_viewport_size({"width": 400, "height": 900})
    view.page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
    view.toggle("pag")
    for part in PARTS:
        view.panel.part(part)
        assert view.page.evaluate("document.documentElement.scrollWidth") <= 400
        arrow = view.page.locator(f"{PANEL} > .label-wrap > .icon").bounding_box()
        assert arrow["x"] + arrow["width"] <= 400 and arrow["width"] > 5
    view.page.evaluate("document.body.classList.remove('dark')")
    view.page.set_viewport_size({"width": 1280, "height": 1000})
