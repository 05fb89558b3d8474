"""Forge Neo: SDFM's techniques against its built-in scripts and samplers, and its flow models of SDXL's architecture."""

from __future__ import annotations

from typing import Any

import pytest

from lib_sdfm.hosts.named_samplers import NAMED_SAMPLERS
from lib_sdfm.sampling.sampler_names import resolve_sampler
from tests.hosts.real.client import NEO, Pictures, Refused, WebUi
from tests.hosts.real.test_flow import farthest, is_picture

NEAR = 2
"""Of 255."""
EULER = {"sampler_name": "Euler", "scheduler": "Automatic"}
OWN_CFGPP = {"Euler": "Euler CFG++", "Euler a": "Euler a CFG++"}
PAIRS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "RescaleCFG": ([0.7], {"cfg_rescale": {"phi": 0.7}}),
    "MaHiRo": ([True], {"mahiro": {}}),
}
"""Built-in scripts with their arguments, and our settings that do the same."""
OF_FLOW_MODELS = {
    "pag": {"scale": 2}, "seg": {}, "tpg": {}, "nag": {}, "freeu": {}, "apg": {}, "fdg": {}, "mahiro": {}, "cfg_rescale": {},
    "dynamic_thresholding": {"mimic_scale": 3}, "cfg_zero": {}, "epsilon_scaling": {"factor": 1.03}, "cfgpp": {},
}  # fmt: skip


@pytest.fixture
def neo(webui: WebUi) -> WebUi:
    """The WebUI under test, if it is Forge Neo."""
    if webui.host != NEO:
        pytest.skip(f"this is {webui.host}")
    return webui


@pytest.fixture
def rectified(neo: WebUi) -> dict[str, Any]:
    """The fields of a request for a flow model that Forge Neo knows by its name, on a schedule without a step of length 0."""
    names = [model["model_name"] for model in neo.get("/sdapi/v1/sd-models") if "rectified" in model["model_name"]]
    if not names:
        pytest.skip("no checkpoint has rectified in its name")
    return {**EULER, "scheduler": "Simple", "override_settings": {"sd_model_checkpoint": min(names, key=len)}}


def test_each_cfgpp_sampler_is_listed_once(neo: WebUi):
    records = [resolve_sampler(name).sampler for name in neo.samplers if "CFG++" in name]
    for named in NAMED_SAMPLERS:
        assert records.count(resolve_sampler(named.name).sampler) == 1, named.name
    assert {"Euler CFG++", "Euler a CFG++", "DPM++ 2M CFG++"} <= set(neo.samplers)


@pytest.mark.parametrize("title", PAIRS)
def test_its_built_in_scripts_give_the_same(neo: WebUi, title: str):
    if title.lower() not in [script["name"] for script in neo.get("/sdapi/v1/script-info")]:
        pytest.skip(f"the options show_rescale_cfg and show_mahiro hide {title}")
    arguments, request = PAIRS[title]
    theirs = neo.txt2img(alwayson_scripts={title: {"args": arguments}}, **EULER)
    assert farthest(neo.txt2img(request, **EULER), theirs) <= NEAR
    assert farthest(theirs, neo.txt2img(**EULER)) > 5


@pytest.mark.parametrize(("sampler", "own"), OWN_CFGPP.items())
def test_its_own_cfgpp_samplers_give_the_same(neo: WebUi, sampler: str, own: str):
    theirs = neo.txt2img(**{**EULER, "sampler_name": own, "cfg_scale": 0.6})
    assert farthest(neo.txt2img({"cfgpp": {"scale": 0.6}}, **{**EULER, "sampler_name": sampler}), theirs) <= NEAR


class TestRectified:
    """Flow models that Forge Neo samples itself."""

    def test_techniques_act_and_leave_nothing(self, neo: WebUi, rectified: dict[str, Any]):
        plain = neo.txt2img(**rectified)
        for name, values in OF_FLOW_MODELS.items():
            guided = neo.txt2img({name: values}, **rectified)
            assert is_picture(guided) and farthest(guided, plain) > 0, name
        assert neo.txt2img(**rectified).pixels == plain.pixels

    def test_cfgpp_is_its_own(self, neo: WebUi, rectified: dict[str, Any]):
        theirs = neo.txt2img(**{**rectified, "sampler_name": "Euler CFG++", "cfg_scale": 0.6})
        assert farthest(neo.txt2img({"cfgpp": {"scale": 0.6}}, **rectified), theirs) <= NEAR

    @pytest.mark.parametrize("request_", [{"cfgpp": {}}, {"pag": {}, "apg": {}}], ids="+".join)
    def test_a_step_of_length_0_is_no_error_of_ours(self, neo: WebUi, rectified: dict[str, Any], request_: dict[str, Any]):
        """Forge Neo alone makes a picture or a black one of the schedule Automatic."""
        assert neo.txt2img(request_, **{**rectified, "scheduler": "Automatic"}).pixels

    def test_flow_matching_is_left_to_the_webui(self, neo: WebUi, rectified: dict[str, Any]):
        for request in ({"flow": {"mode": "On"}}, {"model": {"kind": "Flow matching"}}):
            with pytest.raises(Refused, match="already samples as one") as caught:
                neo.txt2img(request, **rectified)
            assert caught.value.status == 422

    def test_detect_needs_no_call(self, neo: WebUi, rectified: dict[str, Any]):
        before: Pictures = neo.txt2img(**rectified, override_settings_restore_afterwards=False)
        try:
            found = neo.get("/sdfm/v1/model")
            assert found["kind"] == found["by_webui"] == "Flow matching" and "by itself" in found["why"]
        finally:
            first = neo.options["sd_model_checkpoint"]
            neo.txt2img(override_settings={"sd_model_checkpoint": first}, override_settings_restore_afterwards=False)
        assert neo.txt2img(**rectified).pixels == before.pixels
