"""CFG++ in a real WebUI: samplers by name, and the technique on the host's samplers."""

from __future__ import annotations

import numpy as np
import pytest

from lib_sdfm.hosts.named_samplers import DDIM_CFGPP, NAMED_SAMPLERS
from lib_sdfm.sampling.samplers import SAMPLERS
from tests.hosts.real.client import REFORGE, Pictures, Refused, WebUi

TECHNIQUE = {"cfgpp": {"scale": 0.6}}
SHORT = {"scheduler": "Automatic", "steps": 6}
EQUAL = {"prompt": "a house", "negative_prompt": "a house"}
NAMES = [named.name for named in NAMED_SAMPLERS]
REFORGES = {name for name in NAMES if "Ancestral" in name or "SDE" in name} - {"DPM++ 2M SDE CFG++"}
"""Those that draw noise and that reForge has itself: its own formulas, and noise that isn't each image's own in a batch."""


def made(webui: WebUi, sampler: str, sdfm: dict | None = None, **request: object) -> Pictures:
    return webui.txt2img(sdfm, **{**SHORT, "sampler_name": sampler, "cfg_scale": 0.6, **request})


def require_ours(webui: WebUi, name: str) -> None:
    if webui.host == REFORGE and name in REFORGES:
        pytest.skip(f"{webui.host} has its own {name}")


def difference(one: bytes, other: bytes) -> int:
    """The largest, of 255."""
    first, second = (np.frombuffer(pixels, np.uint8).astype(int) for pixels in (one, other))
    return int(np.abs(first - second).max())


@pytest.mark.parametrize("name", NAMES)
def test_each_is_guided_and_equal_prompts_change_nothing(webui: WebUi, name: str):
    strong, weak = (made(webui, name, cfg_scale=scale) for scale in (0.6, 0.3))
    assert difference(strong.pixels[0], weak.pixels[0]) > 5
    assert f"Sampler: {webui.name_of(name)}," in strong.texts[0] and "CFG scale: 0.6," in strong.texts[0]
    one, other = (made(webui, name, cfg_scale=scale, **EQUAL).pixels[0] for scale in (0.6, 0.9))
    assert difference(one, other) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_a_batch_has_the_noise_of_its_seed(webui: WebUi, name: str):
    require_ours(webui, name)
    together = made(webui, name, batch_size=2).pixels[-1]
    assert difference(together, made(webui, name, seed=6).pixels[0]) <= 3


@pytest.mark.parametrize(
    ("spelling", "name"), [(alias, named.name) for named in NAMED_SAMPLERS for alias in named.aliases if "CFG++" in alias]
)
def test_other_spellings_are_the_same_sampler(webui: WebUi, spelling: str, name: str):
    other = made(webui, spelling)
    assert f"Sampler: {webui.name_of(name)}," in other.texts[0]
    assert other.pixels == made(webui, name).pixels


@pytest.mark.parametrize(("plain", "name"), [("Euler", "Euler CFG++"), ("Euler a", "Euler Ancestral CFG++")])
def test_the_technique_is_the_sampler(webui: WebUi, plain: str, name: str):
    require_ours(webui, name)
    assert difference(made(webui, plain, TECHNIQUE, cfg_scale=5).pixels[0], made(webui, name).pixels[0]) <= 1


def test_with_ddim_the_technique_is_a1111s_ddim_cfgpp(webui: WebUi):
    theirs = made(webui, DDIM_CFGPP if webui.is_forge else "DDIM CFG++", cfg_scale=7.5)
    assert difference(made(webui, "DDIM", TECHNIQUE, cfg_scale=5).pixels[0], theirs.pixels[0]) <= 1


@pytest.mark.parametrize("steps", [6, 20])
def test_the_technique_works_with_every_sampler_or_names_it(webui: WebUi, steps: int):
    known = {record.name for record in SAMPLERS if record.spans is not None}
    for sampler in webui.samplers:
        if webui.is_for_flow(sampler):
            continue
        if sampler in known:
            changed, plain = (made(webui, sampler, sdfm, steps=steps, cfg_scale=5) for sdfm in (TECHNIQUE, None))
            assert difference(changed.pixels[0], plain.pixels[0]) > 5, sampler
        else:
            with pytest.raises(Refused) as caught:
                made(webui, sampler, TECHNIQUE, cfg_scale=5)
            assert caught.value.status == 422 and sampler in caught.value.text


def test_pag_is_in_the_guided_prediction(webui: WebUi):
    pag = {"pag": {"scale": 0.25}}
    named, technique = made(webui, "Euler CFG++", pag), made(webui, "Euler", {**pag, **TECHNIQUE}, cfg_scale=5)
    assert difference(named.pixels[0], technique.pixels[0]) <= 1
    assert difference(named.pixels[0], made(webui, "Euler CFG++").pixels[0]) > 5


def test_forges_cfg_1_is_refused(forge: WebUi):
    """Forge Neo has samplers of these names itself, whose results at CFG 1 are its own; this one it hasn't."""
    for sdfm, sampler in ((TECHNIQUE, "Euler"), (None, "Gradient Estimation CFG++")):
        with pytest.raises(Refused) as caught:
            made(forge, sampler, sdfm, cfg_scale=1)
        assert caught.value.status == 422 and "CFG scale 1" in caught.value.text
