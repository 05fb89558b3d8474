"""The panel of a real WebUI in a browser: title, presets, plot, pasting, and a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from lib_sdfm.schema.infotext import parse_infotext
from tests.browser.panel import Panel, chromium, shown
from tests.browser.test_pictures import differing
from tests.browser.test_plot import Plot
from tests.browser.test_presets import Presets
from tests.hosts.real.client import REFORGE, WebUi

NOTHING = (
    "a house\nNegative prompt: blurry\nSteps: 6, Sampler: Euler, Schedule type: Automatic, CFG scale: 5, Seed: 5, Size: 128x128"
)
MUCH = {
    "pag": {"scale": 2.5, "start_step": 1, "end_step": 5, "layers": "middle, output.3"}, "tpg": {"scale": 0.5},
    "apg": {"eta": 0.2, "momentum": -0.3}, "freeu": {"preset": "Custom", "stage1_backbone": 1.3},
    "nag": {"negative": "a \"cat\", red"},
}  # fmt: skip
EULER = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 6}


@pytest.fixture(scope="module")
def panel(webui: WebUi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """The page as a test before has left it."""
    pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    if chromium() is None:
        pytest.skip("chromium is not installed (apt-get install chromium): no browser tests")
    webui.txt2img()  # Forge loads its checkpoint only now
    with shown(f"{webui.url}/", tmp_path_factory.mktemp("page")) as panel:
        yield panel


@pytest.fixture(autouse=True)
def nothing_is_on(panel: Panel) -> Iterator[None]:
    """Each test begins with an ordinary job, and nothing in it fails in the page's scripts."""
    panel.paste(NOTHING)
    panel.settle()
    yield
    assert panel.errors == []


def title(panel: Panel, words: str) -> None:
    """Wait until the panel's title has some words."""
    panel.page.wait_for_function(
        "([title, words]) => document.querySelector(title).innerText.includes(words)",
        arg=[f"#{panel.control_id('panel')} > .label-wrap", words],
    )


def wait_until_shown(webui: WebUi, panel: Panel, text: str) -> None:
    """Wait until the controls have a text's values, those that this WebUI leaves to itself aside."""
    known = webui.get("/sdfm/v1/schema")["properties"]
    for _ in range(200):
        apart = {name: values for name, values in differing(panel, text).items() if name.split(".")[0] in known}
        if not apart:
            return
        panel.page.wait_for_timeout(50)
    assert apart == {}


def picture_of(panel: Panel) -> np.ndarray:
    """The picture that the page shows."""
    source = panel.page.get_attribute(f"#{panel.tab}_gallery img >> nth=0", "src")
    address = panel.page.evaluate("(source) => new URL(source, document.baseURI).href", source)
    return np.asarray(Image.open(io.BytesIO(panel.page.request.get(address).body())).convert("RGB"))


def test_the_title_counts_and_the_switch_turns_all_off(panel: Panel):
    panel.page.click(f"#{panel.control_id('pag')} > .label-wrap")
    title(panel, "PAG, about +")
    panel.page.click(f"#{panel.control_id('panel')} .sdfm-switch")
    title(panel, "SDFM: off (PAG)")
    panel.page.click(f"#{panel.control_id('panel')} .sdfm-switch")
    title(panel, "PAG, about +")
    panel.page.click(f"#{panel.control_id('pag')} > .label-wrap")
    panel.settle()


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_a_preset_is_loaded_when_chosen(panel: Panel, tab: str):
    panel.show(tab)
    if not panel.page.is_visible(f"#{panel.control_id('presets')}"):
        panel.open(panel.control_id("panel"))
    presets = Presets(panel)
    presets.choose("High CFG, projected (APG, SDXL)")
    presets.wait("APG on")
    ids = [f"{panel.control_id('apg')}-checkbox", panel.control_id("apg.norm_threshold"), f"{tab}_cfg_scale"]
    assert list(panel.read(ids).values()) == [True, "15", "12"]
    presets.press("reset")
    presets.wait("APG off")
    panel.show("txt2img")


def test_the_run_is_drawn(panel: Panel):
    plot = Plot(panel)
    panel.page.click(f"#{panel.control_id('pag')} > .label-wrap")
    assert "6 steps, Euler" in plot.wait(">PAG<") and len(plot.scales()) == 6
    panel.set_number("txt2img_steps", 9)
    plot.wait("9 steps")
    panel.page.click(f"#{panel.control_id('pag')} > .label-wrap")


def test_a_pasted_text_sets_all_controls_and_gives_the_picture_back(webui: WebUi, panel: Panel):
    made = webui.txt2img(MUCH, **EULER)
    panel.paste(made.texts[0])
    wait_until_shown(webui, panel, made.texts[0])
    written = parse_infotext(panel.generate())
    wanted = parse_infotext(made.texts[0])
    ours = [key for key in wanted if key.startswith(("SDFM", "PAG", "FreeU"))]
    assert len(ours) > 15 and {key: written.get(key) for key in ours} == {key: wanted[key] for key in ours}
    shape = (128, 128, 3)
    assert np.array_equal(picture_of(panel), np.frombuffer(made.pixels[0], np.uint8).reshape(shape))


def test_an_error_is_told_and_the_next_picture_is_plain(webui: WebUi, panel: Panel):
    panel.paste(f"{NOTHING}, PAG Active: True, PAG Scale: 3, SDFM: 1")
    panel.settle()
    panel.page.click(f"#{panel.control_id('pag_advanced')} > .label-wrap")
    layers = panel.control_id("pag.layers")
    panel.page.fill(f"#{layers} textarea, #{layers} input", "nowhere")
    panel.page.keyboard.press("Tab")
    said = panel.generate()
    if webui.host == REFORGE:  # its page says this of any script's error; the words are in the log
        assert "TypeError" in said
    else:
        assert "SDFM" in said and "nowhere" in said
    panel.paste(NOTHING)
    panel.settle()
    assert "SDFM" not in panel.generate()
    plain = webui.txt2img(**EULER)
    assert np.array_equal(picture_of(panel).ravel(), np.frombuffer(plain.pixels[0], np.uint8))
