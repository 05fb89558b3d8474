"""The panel in a browser: published texts pasted, made, sent to the other tab."""

import re

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.fields import HIRES_GROUP
from lib_sdfm.schema.infotext import parse_infotext, read_infotext

from .conftest import under
from .panel import MILLISECONDS, ROOT

EXAMPLES = ROOT / "demo" / "examples.py"


def ids_of(panel) -> dict[str, str]:
    """The block of each field of the extension."""
    ids = {}
    for field in SCHEMA.fields:
        is_switch = field.technique is not None and field.id == f"{field.technique.name}.enabled"
        ids[field.id] = f"{panel.control_id(field.technique.name)}-checkbox" if is_switch else panel.control_id(field.id)
    return ids


def shown_values(panel) -> dict:
    ids = ids_of(panel)
    values = panel.read(ids.values())
    return {name: values[id] for name, id in ids.items() if panel.tab == "txt2img" or not is_of_hires_pass(name)}


def is_of_hires_pass(name: str) -> bool:
    return SCHEMA.by_id[name].group == HIRES_GROUP


def wanted_values(text: str) -> dict:
    """Return the values that the library reads; a value that follows another shows that one's."""
    values = read_infotext(SCHEMA, parse_infotext(text)).values
    return {
        f.id: values[f"{f.technique.name}.{f.param.follows}"] if values[f.id] is None else values[f.id] for f in SCHEMA.fields
    }


def equal(shown, wanted) -> bool:
    if isinstance(wanted, bool) or shown is None or isinstance(wanted, str):
        return shown == wanted
    return abs(float(shown) - float(wanted)) < 1e-6


def differing(panel, text: str) -> dict:
    shown, wanted = shown_values(panel), wanted_values(text)
    return {name: (shown[name], wanted[name]) for name in shown if not equal(shown[name], wanted[name])}


def wait_until_shown(panel, text: str) -> None:
    """Pasting takes a moment; what differs at the end is told."""
    for _ in range(MILLISECONDS // 50):
        if not differing(panel, text):
            break
        panel.page.wait_for_timeout(50)
    assert differing(panel, text) == {}


def published(name: str) -> str:
    """A text of people's, at a size for tests."""
    namespace: dict = {}
    exec(EXAMPLES.read_text(encoding="utf8"), namespace)
    text = re.sub(r"Size: \d+x\d+", "Size: 128x128", namespace["EXAMPLES"][name])
    return text.replace("Steps: 48", "Steps: 4")


def our_part(text: str) -> str:
    """The extension's keys of a picture's text."""
    return re.search(r"((?:FreeU Stages|SEG Active|PAG Active).*SDFM: 1)", text).group(1)


@pytest.mark.parametrize("name", ["a", "b", "c", "a"])
def test_paste_sets_every_control_whatever_was_set_before(panel, name):
    panel.set_number("txt2img_cfg_scale", 11)
    panel.paste(published(name))
    wait_until_shown(panel, published(name))
    assert float(panel.read(["txt2img_cfg_scale"])["txt2img_cfg_scale"]) == {"a": 1, "b": 3, "c": 3}[name]


def test_pasting_a_text_without_ours_clears_everything(panel):
    panel.paste(published("b"))
    wait_until_shown(panel, published("b"))
    plain = "a cat\nSteps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128"
    panel.paste(plain)
    wait_until_shown(panel, plain)
    on = {id for id, value in shown_values(panel).items() if id.endswith(".enabled") and value}
    assert on == {f"{technique.name}.enabled" for technique in SCHEMA.techniques if technique.on_by_default}


def test_generate_writes_what_was_pasted_and_send_carries_it_over(panel):
    panel.paste(published("b"))
    wait_until_shown(panel, published("b"))
    text = panel.generate()
    part = our_part(text)
    assert "Seed: 3649863581" in text and "SDFM Recipe: original" in part
    assert {k: v for k, v in parse_infotext(published("b")).items() if k in parse_infotext(part)}.items() <= parse_infotext(
        part
    ).items()
    panel.page.click("#txt2img_send_to_img2img")
    panel.tab = "img2img"
    panel.page.wait_for_selector("#img2img_image img")
    wait_until_shown(panel, published("b"))
    assert our_part(panel.generate()) == part
    panel.show("txt2img")


def test_an_error_is_told_in_the_panel_and_no_picture_is_made(panel):
    panel.paste("Steps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128, PAG Active: True, PAG Scale: 3, SDFM: 1")
    advanced = f"#{panel.control_id('pag_advanced')}"
    panel.page.wait_for_selector(advanced)
    panel.page.click(f"{advanced} > .label-wrap")
    layers = panel.control_id("pag.layers")
    panel.page.fill(f"#{layers} textarea, #{layers} input", "nowhere")
    panel.page.keyboard.press("Tab")
    text = panel.generate()
    assert "SdfmError" in text and "layers" in text.lower() and "nowhere" in text


@under("gradio4")
def test_what_a_text_gets_wrong_is_told_beside_the_controls(panel):
    panel.paste("Steps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128, PAG Active: True, PAG Scale: much, SDFM: 1")
    pasted = f"#{panel.control_id('pasted')}"
    panel.page.wait_for_function("(id) => document.querySelector(id).innerText.includes('much')", arg=pasted)
    title = f"#{panel.control_id('panel')} > .label-wrap"
    shows = "([id, text]) => document.querySelector(id).innerText.includes(text)"
    panel.page.wait_for_function(shows, arg=[title, "1 value not read"])
    # a text that changes no control: the title follows all the same
    panel.paste("Steps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128, tcfg: enabled, sag_enabled: True")
    panel.page.wait_for_function(shows, arg=[title, "2 notes on the pasted text"])
    panel.paste("Steps: 4, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128")
    panel.page.wait_for_function("(id) => !/read|note/.test(document.querySelector(id).innerText)", arg=title)


@under("gradio4")
def test_interrupt_and_progress(panel):
    panel.paste("x\nSteps: 140, Sampler: Heun, CFG scale: 5, Seed: 1, Size: 256x256")
    panel.page.click("#txt2img_generate")
    panel.page.wait_for_function("() => /step \\d+\\/140/.test(document.querySelector('#txt2img_progress').innerText)")
    panel.page.click("#txt2img_interrupt")
    panel.page.wait_for_function("() => document.querySelector('#html_info_txt2img').innerText.includes('Steps: 140')")


@under("gradio3")
def test_the_sheets_are_shown_with_their_figures(panel):
    panel.page.click("#tabs button:has-text('Techniques')")
    figures = panel.page.locator("#sheets figure")
    assert figures.count() > 10
    for number in range(figures.count()):
        figures.nth(number).scroll_into_view_if_needed()
        share = r"\d+% \[\d+, \d+\]"
        assert re.search(rf"adherence {share}, agreement {share}, distance", figures.nth(number).inner_text())
    panel.page.wait_for_function(
        "() => [...document.querySelectorAll('#sheets img')].every((img) => img.complete && img.naturalWidth === 1024)"
    )
    panel.show("txt2img")
