"""SDFM beside other extensions in a real WebUI that has them: each alone, with techniques that do nothing, and with PAG.

Counting extensions (NegPiP, Regional Prompter) count on 16 cross-attention layers, 70 with SDXL: with a checkpoint of others
they are refused by name as soon as the prompts' lengths differ. Load one with the layout of Stable Diffusion 1 or SDXL.

ADetailer takes the first detector that is a file of its folder, ControlNet and LoRA take the first model that acts on the
loaded checkpoint. Without one, these cases are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.real.client import Pictures, Refused, WebUi
from tests.hosts.real.neighbour_cases import (
    ALWAYS_ON,
    CASES,
    FORGE_CASES,
    MODEL,
    MODELS,
    NEUTRAL,
    ORIGINALS,
    PASSES,
    SIX,
    SMALL,
    TOGETHER,
    Case,
)
from tests.hosts.real.test_nag import largest


@pytest.fixture(scope="module", autouse=True)
def no_cache_of_prompts(webui: WebUi) -> Iterator[None]:
    """Let the WebUI encode prompts anew in each job: Neutral Prompt reads them while they are encoded, and fails otherwise.

    (Of the same prompt plain, with Regional Prompter's latent mode and plain again, the last is an error, SDFM or not.)
    """
    before = webui.options["persistent_cond_cache"]
    webui.post("/sdapi/v1/options", {"persistent_cond_cache": False})
    webui.txt2img()  # drops what is cached
    yield
    webui.post("/sdapi/v1/options", {"persistent_cond_cache": before})


@pytest.fixture(scope="module")
def installed(webui: WebUi) -> list[str]:
    """The names of the WebUI's scripts."""
    return [info["name"] for info in webui.get("/sdapi/v1/script-info")]


def found(webui: WebUi, installed: list[str], name: str) -> Case:
    """A case as this WebUI can run it; the test is skipped if it lacks the extension or a model."""
    cases = FORGE_CASES if webui.is_forge else CASES
    if name not in cases:
        pytest.skip(f"not for {webui.host}")
    scripts, settings = cases[name]
    titles = {title: next((own for own in installed if own.startswith(title.lower())), None) for title in scripts}
    if None in titles.values():
        pytest.skip(f"not installed: {', '.join(title for title, own in titles.items() if own is None)}")
    case = Case(name, {titles[title]: args for title, args in scripts.items()}, {"prompt": "a castle", **settings})
    if name.startswith("Dynamic Prompts") and "{" in made(webui, None, case.scripts, **case.settings).texts[0]:
        pytest.skip("Dynamic Prompts does nothing before its settings have been saved once")
    return with_model(webui, case) if MODEL in json.dumps([scripts, settings]) else case


def with_model(webui: WebUi, case: Case) -> Case:
    """The case with the first model that acts on the loaded checkpoint."""
    path, usable = MODELS[re.split("[ ,]", case.name)[0]]
    plain = made(webui, None, {}, **case.without)
    for model in usable(webui.get(path)):
        scripts, settings = json.loads(json.dumps([case.scripts, case.settings]).replace(MODEL, model))
        tried = Case(case.name, scripts, settings)
        try:
            if made(webui, None, scripts, **settings).difference(plain) > 0.1:
                return tried
        except Refused:
            assert made(webui, None, {}, **case.without).pixels == plain.pixels
    pytest.skip("no model for this checkpoint")


@pytest.fixture(scope="module", params={**CASES, **FORGE_CASES})
def case(request: pytest.FixtureRequest, webui: WebUi, installed: list[str]) -> Case:
    return found(webui, installed, request.param)


def made(webui: WebUi, sdfm: dict | None, scripts: dict[str, Any], **request: Any) -> Pictures:
    return webui.txt2img(sdfm, alwayson_scripts=scripts, **{**SMALL, **request})


def assert_neutral(webui: WebUi, scripts: dict[str, Any], alone: Pictures, settings: dict[str, Any], names: Any) -> None:
    """Techniques that change nothing leave the extension's picture, or are refused by name beside it."""
    distances = {name: distance(webui, scripts, alone, settings, neutral) for name, neutral in names.items()}
    assert not {name: far for name, far in distances.items() if far not in allowed(scripts)}


def allowed(scripts: dict[str, Any]) -> range:
    """Differences that rounding explains: of 1, or of 2 in what ADetailer makes of a picture that is rounded before."""
    return range(3 if any("adetailer" in title.lower() for title in scripts) else 2)


def assert_all_neutral(webui: WebUi, scripts: dict[str, Any], alone: Pictures, settings: dict[str, Any]) -> None:
    """All of them together; one by one where that is refused or wrong, to tell which."""
    if distance(webui, scripts, alone, settings, TOGETHER, refused="refused") not in allowed(scripts):
        assert_neutral(webui, scripts, alone, settings, NEUTRAL)


def distance(
    webui: WebUi,
    scripts: dict[str, Any],
    alone: Pictures,
    settings: dict[str, Any],
    neutral: dict[str, Any],
    refused: int | str = 0,
) -> int | str:
    """The largest difference to the extension's picture; ``refused`` if refused by name, the text if for another reason."""
    try:
        return largest(made(webui, neutral, scripts, **settings), alone)
    except Refused as error:
        assert error.status == 422
        return refused if any(title in error.text for title in ("sd-webui", "multidiffusion", "rows where")) else error.text


@pytest.mark.parametrize("images", [1, 3])
def test_beside_an_extension(webui: WebUi, case: Case, images: int):
    scripts, settings = case.scripts, {**case.settings, "batch_size": images}
    without = {**case.without, "batch_size": images}
    plain = made(webui, None, {}, **without)
    try:
        alone = made(webui, None, scripts, **settings)
    except Refused as error:
        assert made(webui, None, {}, **without).pixels == plain.pixels, "its own failure leaves its things in the model"
        pytest.skip(f"it fails alone with this checkpoint: {error.text[:200]}")
    assert case.name.startswith(ALWAYS_ON) or alone.difference(plain) > 0.1, "it has no effect alone"
    same_scale = {"dynamic_thresholding": {"mimic_scale": settings.get("cfg_scale", SMALL["cfg_scale"])}}
    assert_all_neutral(webui, scripts, alone, settings)
    assert_neutral(webui, scripts, alone, settings, {"thresholding": same_scale})
    assert made(webui, None, {}, **without).pixels == plain.pixels


def test_pag_and_the_extension_both_act_and_are_written(webui: WebUi, case: Case):
    plain = made(webui, None, {}, **case.without)
    strong = {"pag": {"scale": 4}}
    try:
        alone = made(webui, None, case.scripts, **case.settings)
        both = made(webui, strong, case.scripts, **case.settings)
    except Refused as error:
        pytest.skip(error.text[:200])
    assert both.difference(alone) > 0.1
    assert case.name.startswith(ALWAYS_ON) or both.difference(made(webui, strong, {}, **case.without)) > 0.1
    assert "PAG Scale: 4" in both.texts[0]
    assert made(webui, None, {}, **case.without).pixels == plain.pixels


def test_an_error_of_ours_leaves_nothing_of_the_extension(webui: WebUi, case: Case):
    plain = made(webui, None, {}, **case.without)
    with pytest.raises(Refused, match="output block 99"):
        made(webui, {"pag": {"layers": "output.99"}}, case.scripts, **case.settings)
    assert made(webui, None, {}, **case.without).pixels == plain.pixels


@pytest.fixture(scope="module")
def refiner(webui: WebUi) -> str:
    """Another checkpoint of the loaded one's class, told by its name: tiny-sd1 for sd1-full."""
    loaded = webui.get("/sdapi/v1/options")["sd_model_checkpoint"]
    others = [model["title"] for model in webui.get("/sdapi/v1/sd-models") if model["model_name"] not in loaded]
    family = "sdxl" if "xl" in loaded.lower() else "sd1"
    fitting = [title for title in others if family in title.lower() and not re.search("vpred|vscaling|shape", title)]
    if not fitting:
        pytest.skip("no checkpoint of the same class")
    return fitting[0]


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("name", SIX)
def test_with_hires_fix_and_refiner_sync(a1111: WebUi, installed: list[str], refiner: str, name: str, passes: str):
    case = found(a1111, installed, name)
    settings, without = ({**one, **PASSES[passes]} for one in (case.settings, case.without))
    if passes == "refiner":
        marked = settings["prompt"].replace("castle", "[castle:tower:refiner]")
        settings["refiner_checkpoint"] = without["refiner_checkpoint"] = refiner
        settings["prompt"] = marked
    plain = made(a1111, None, {}, **without)
    alone = made(a1111, None, case.scripts, **settings)
    assert "refiner]" not in alone.texts[0] and alone.difference(plain) > 0.1
    assert_all_neutral(a1111, case.scripts, alone, settings)
    strong = {"pag": {"scale": 4}}
    assert made(a1111, strong, case.scripts, **settings).difference(alone) > 0.1
    assert made(a1111, None, {}, **without).pixels == plain.pixels


@pytest.mark.parametrize("title", ORIGINALS)
def test_beside_an_original(a1111: WebUi, installed: list[str], title: str):
    """The same method twice is refused by name; other methods act beside it."""
    if title.lower() not in installed:
        pytest.skip(f"not installed: {title}")
    args, same = ORIGINALS[title]
    scripts, plain = {title: {"args": args}}, made(a1111, None, {})
    alone = made(a1111, None, scripts)
    assert title == "FreeU" or alone.difference(plain) > 0.1  # that one goes by the channel counts of full checkpoints
    with pytest.raises(Refused, match="422") as refused:
        made(a1111, same, scripts)
    assert title.split(" (")[0].lower() in refused.value.text.lower()
    beside = {name: neutral for name, neutral in NEUTRAL.items() if not set(neutral) & set(same)}
    assert_neutral(a1111, scripts, alone, {}, beside)
    assert made(a1111, None, {}).pixels == plain.pixels


def test_explain_tells_who_has_changed_the_unet(a1111: WebUi):
    told = a1111.post("/sdfm/v1/explain", {"infotext": "a\nSteps: 4"})["whole_passes"]
    assert set(told) == {"changed_by", "last"}
