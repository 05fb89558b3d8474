"""Techniques, recipes, CFG, batches, samplers and kinds of jobs together, in a real WebUI: a covering set.

Every technique meets every kind of CFG with Euler on an SDXL checkpoint; samplers, kinds of jobs and an SD1 checkpoint meet all
techniques at once. Takes ten minutes on a slow CPU with small checkpoints.

The checkpoints are those of the WebUI with ``sd1`` and ``sdxl`` in their names, small ones first. The variable
``SDFM_WEBUI_CHECKPOINTS`` names others: ``sd1=v1-5-pruned,sdxl=sd_xl_base``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lib_sdfm.ops.schedules import INTERVAL
from lib_sdfm.sampling.stages import ORIGINAL, RECIPES, SDFM
from tests.hosts.real.client import NEO, Pictures, Refused, WebUi

SDXL, SD1 = "sdxl", "sd1"
SEEDS = (5, 6, 7)
FAST = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 4, "seed": SEEDS[0]}
SAMPLERS = ("LCM", "DDIM", "DPM++ 2M")
"""Besides Euler: with noise in each step, of timesteps, of several steps."""
WEAK, CONSTANT, IN_INTERVAL, CLAMPED = "CFG 1", "CFG 7", "CFG 7, Interval", "CFG 7, Clamp-Cosine"
CFG = {
    WEAK: ({"cfg_scale": 1}, {}),
    CONSTANT: ({"cfg_scale": 7}, {}),
    IN_INTERVAL: ({"cfg_scale": 7}, {"cfg_schedule": {"schedule": INTERVAL}}),
    CLAMPED: ({"cfg_scale": 7}, {"cfg_schedule": {"schedule": "Clamp-Cosine (c=4.0)"}}),
}
"""Fields of the request, and settings of ours."""
SCHEDULED = (WEAK, IN_INTERVAL, CLAMPED)
OF_BOTH_RECIPES = {
    "nothing": {},
    "PAG": {"pag": {"scale": 2}},
    "PAG with SANF": {"pag": {"scale": 2, "sanf": True}},
    "SEG": {"seg": {}},
    "SEG, finite blur": {"seg": {"blur": 1}},
    "FreeU": {"freeu": {}},
    "thresholding": {"dynamic_thresholding": {"mimic_scale": 3}},
    "joint thresholding": {
        "dynamic_thresholding": {"mimic_scale": 3, "separate_channels": False, "startpoint": "ZERO", "percentile": 90},
    },
}  # fmt: skip
GUIDED = {"APG": {"apg": {}}, "FDG": {"fdg": {}}, "MaHiRo": {"mahiro": {}}}
"""Without effect at CFG 1."""
OF_SDFM = {
    "CFG rescale": {"cfg_rescale": {}}, "CFG++": {"cfgpp": {}}, "flow": {"flow": {"shift": 3}},
    "epsilon scaling": {"epsilon_scaling": {"factor": 1.02}}, "CFG-Zero*": {"flow": {"shift": 3}, "cfg_zero": {}}, **GUIDED,
}  # fmt: skip
ALL = {
    SDFM: {
        "pag": {"scale": 0.5}, "seg": {"scale": 0.5, "blur": 2}, "freeu": {}, "dynamic_thresholding": {"mimic_scale": 3},
        "cfg_rescale": {"phi": 0.3},
    },
    ORIGINAL: {"pag": {"scale": 0.5}, "seg": {"blur": 2}, "freeu": {}, "dynamic_thresholding": {"mimic_scale": 3}},
}  # fmt: skip
ALONE = [
    *((SDFM, name, settings) for name, settings in {**OF_BOTH_RECIPES, **OF_SDFM}.items()),
    *((ORIGINAL, name, settings) for name, settings in OF_BOTH_RECIPES.items()),
]
TOGETHER = [
    (SDFM, "all", ALL[SDFM]),
    (SDFM, "all with SANF", {**ALL[SDFM], "pag": {"scale": 0.5, "sanf": True}}),
    (SDFM, "all with CFG++", {**ALL[SDFM], "cfgpp": {}, "pag": {"scale": 0.1}, "seg": {"scale": 0.1}}),
    (SDFM, "all with flow", {**ALL[SDFM], "flow": {}}),
    (ORIGINAL, "all", ALL[ORIGINAL]),
    (ORIGINAL, "all with SANF", {**ALL[ORIGINAL], "pag": {"scale": 0.5, "sanf": True}}),
]
WITHOUT_EFFECT = {
    **{(SDFM, name, WEAK): "nothing is guided" for name in GUIDED},
    (SDFM, "CFG rescale", WEAK): "nothing is added that could be rescaled",
    (ORIGINAL, "SEG", WEAK): "CFG is its strength",
    (ORIGINAL, "SEG, finite blur", WEAK): "CFG is its strength",
    (ORIGINAL, "FreeU", WEAK): "a small model's decoder has other widths",
}
"""Settings that are written although they change nothing, and the reason."""
LONG = "a house in the hills, " * 20
JOBS = {
    "hires": {
        "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_second_pass_steps": 3,
    },
    "refiner": {"refiner_switch_at": 0.5},
    "img2img": {"denoising_strength": 0.75, "steps": 6},
    "long prompt": {"prompt": LONG},
    "long negative prompt": {"negative_prompt": LONG},
    "both long": {"prompt": LONG, "negative_prompt": LONG},
    "AND": {"prompt": "a house :1.2 AND a tree :0.5 AND a hill"},
    "AND, unequal lengths": {"prompt": f"a house :1.2 AND {LONG}:0.5"},
    "NGMS": {"s_min_uncond": 5},
}  # fmt: skip
ROUNDING = 1
"""Of 255: sums over a batch are added up in another order than those over an image."""


def marks_of(*case: str) -> list[pytest.MarkDecorator]:
    why = WITHOUT_EFFECT.get(case)
    return [pytest.mark.xfail(reason=f"written without effect: {why}")] if why else []


@pytest.fixture(scope="session")
def checkpoints(webui: WebUi) -> dict[str, list[str]]:
    """The checkpoints of each architecture that there is, the one to test first."""
    models = sorted(
        (model["model_name"] for model in webui.get("/sdapi/v1/sd-models")), key=lambda name: ("tiny" not in name, len(name))
    )
    wanted = dict(pair.split("=", 1) for pair in os.environ.get("SDFM_WEBUI_CHECKPOINTS", "").split(",") if pair)
    found = {kind: [name for name in models if wanted.get(kind, kind) in name] for kind in (SD1, SDXL)}
    return {kind: names for kind, names in found.items() if names}


class Bench:
    """Makes pictures with one checkpoint, and checks what holds for all.

    :param webui: the WebUI
    :param checkpoint: name of the checkpoint
    :param refiner: name of another
    """

    def __init__(self, webui: WebUi, checkpoint: str, refiner: str | None) -> None:
        self._webui, self._checkpoint, self._refiner = webui, checkpoint, refiner
        self._plain: dict[str, Pictures] = {}

    def made(self, sdfm: Any, job: str = "", **fields: Any) -> Pictures:
        """Pictures of a kind of job."""
        request = {**FAST, "override_settings": {"sd_model_checkpoint": self._checkpoint}, **JOBS.get(job, {}), **fields}
        if job == "refiner":
            if self._refiner is None:
                pytest.skip("there is no checkpoint to which the WebUI can switch")
            request["refiner_checkpoint"] = self._refiner
        return (self._webui.img2img if job == "img2img" else self._webui.txt2img)(sdfm, **request)

    def plain(self, job: str = "", **fields: Any) -> Pictures:
        """The picture without SDFM, made once."""
        key = f"{job} {fields}"
        if key not in self._plain:
            self._plain[key] = self.made(None, job, **fields)
        return self._plain[key]

    def check(self, sdfm: dict[str, Any], job: str = "", joint: bool = False, **fields: Any) -> None:
        """A batch is its pictures, and the generation parameters mention SDFM if the picture isn't the plain one.

        :param joint: a picture depends on its batch
        """
        try:
            singles = [self.made(sdfm, job, **{**fields, "seed": seed}) for seed in SEEDS]
        except Refused as refused:
            assert refused.status == 422 and self._webui.is_forge and fields["cfg_scale"] == 1, refused
            assert "negative prompt" in refused.text
            return
        batch = self.made(sdfm, job, batch_size=len(SEEDS), **fields)
        together = batch.pixels[-len(SEEDS) :]  # a grid comes first
        apart = [farthest(one, single.pixels[0]) for one, single in zip(together, singles)]
        if not joint:
            assert max(apart) <= self.rounding(job) or is_a_choice(sdfm, singles, together), f"{apart} of 255"
        assert min(np.frombuffer(pixels, np.uint8).std() for pixels in together) > 1, "all of one colour"
        acts = farthest(singles[0].pixels[0], self.plain(job, **fields).pixels[0]) > self.rounding(job)
        texts = [*batch.texts[-len(SEEDS) :], *(single.texts[0] for single in singles)]
        assert {"SDFM: 1" in text for text in texts} == {acts}, (acts, texts[0])

    def rounding(self, job: str) -> int:
        """Return how far pictures may differ: in img2img the hosts don't seed their encoder's noise either."""
        return 3 * ROUNDING if job == "img2img" else ROUNDING


def farthest(one: bytes, other: bytes) -> int:
    """The largest difference, of 255."""
    first, second = (np.frombuffer(pixels, np.uint8).astype(int) for pixels in (one, other))
    return int(np.abs(first - second).max())


def is_a_choice(sdfm: dict[str, Any], singles: list[Pictures], together: list[bytes]) -> bool:
    """Return True if SANF chose otherwise at a few places: of two terms that are alike, rounding decides which it takes."""
    far = [share_apart(single.pixels[0], one) for single, one in zip(singles, together)]
    return sdfm.get("pag", {}).get("sanf", False) and max(far) < 0.05


def share_apart(one: bytes, other: bytes) -> float:
    """The share of values that differ by more than a rounding."""
    first, second = (np.frombuffer(pixels, np.uint8).astype(int) for pixels in (one, other))
    return float((np.abs(first - second) > ROUNDING).mean())


@pytest.fixture(scope="module")
def benches(webui: WebUi, checkpoints: dict[str, list[str]]) -> dict[str, Bench]:
    """A bench for each architecture; its refiner is of the other one, or on Forge Neo, which fails with that, of the same."""
    others = {kind: checkpoints.get(SD1 if kind == SDXL else SDXL, []) for kind in checkpoints}
    if webui.host == NEO:
        others = {kind: names[1:] for kind, names in checkpoints.items()}
    return {kind: Bench(webui, names[0], next(iter(others[kind]), None)) for kind, names in checkpoints.items()}


def bench_of(benches: dict[str, Bench], kind: str) -> Iterator[Bench]:
    """A bench; after the test the plain picture is what it was."""
    if kind not in benches:
        pytest.skip(f"the WebUI has no checkpoint with {kind} in its name, and SDFM_WEBUI_CHECKPOINTS names none")
    small = {"width": 64, "height": 64, "steps": 2}
    before = benches[kind].plain(**small)
    yield benches[kind]
    assert benches[kind].made(None, **small) == before


@pytest.fixture
def sdxl(benches: dict[str, Bench]) -> Iterator[Bench]:
    yield from bench_of(benches, SDXL)


@pytest.fixture
def sd1(benches: dict[str, Bench]) -> Iterator[Bench]:
    yield from bench_of(benches, SD1)


def checked(bench: Bench, recipe: str, settings: dict[str, Any], cfg: str, **more: Any) -> None:
    fields, schedule = CFG[cfg]
    bench.check({"recipe": recipe, **settings, **schedule}, **{**fields, **more})


EULER = [
    pytest.param(recipe, name, settings, cfg, id=f"{recipe}-{name}-{cfg}", marks=marks_of(recipe, name, cfg))
    for recipe, name, settings in (*ALONE, *TOGETHER)
    for cfg in SCHEDULED
]


@pytest.mark.parametrize(("recipe", "name", "settings", "cfg"), EULER)
def test_each_technique_with_each_kind_of_cfg(sdxl: Bench, recipe: str, name: str, settings: dict, cfg: str):
    """Joint thresholding of recipe original has one range for a whole batch, as the old extension had."""
    checked(sdxl, recipe, settings, cfg, joint=(recipe, name) == (ORIGINAL, "joint thresholding"))


@pytest.mark.parametrize("name", ["thresholding", "joint thresholding", "SEG"])
@pytest.mark.parametrize("kind", [SDXL, SD1])
def test_recipe_original_without_a_schedule(request: pytest.FixtureRequest, kind: str, name: str):
    """Beside a schedule the old thresholding had no effect."""
    bench = request.getfixturevalue(kind)
    checked(bench, ORIGINAL, OF_BOTH_RECIPES[name], CONSTANT, joint=name == "joint thresholding")


@pytest.mark.parametrize(
    ("recipe", "sampler", "cfg"),
    [
        *((recipe, sampler, WEAK) for recipe in RECIPES for sampler in SAMPLERS),
        *((SDFM, sampler, IN_INTERVAL) for sampler in SAMPLERS),
        *((ORIGINAL, sampler, CLAMPED) for sampler in SAMPLERS),
    ],
)
def test_samplers(sdxl: Bench, recipe: str, sampler: str, cfg: str):
    checked(sdxl, recipe, ALL[recipe], cfg, sampler_name=sampler)


@pytest.mark.parametrize(("sampler", "cfg"), [*(("Euler", cfg) for cfg in SCHEDULED), *zip(SAMPLERS, SCHEDULED)])
@pytest.mark.parametrize("recipe", RECIPES)
def test_samplers_with_sd1(sd1: Bench, recipe: str, sampler: str, cfg: str):
    checked(sd1, recipe, ALL[recipe], cfg, sampler_name=sampler)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(("recipe", "cfg"), [(SDFM, WEAK), (SDFM, IN_INTERVAL), (ORIGINAL, CLAMPED)])
def test_kinds_of_jobs(sdxl: Bench, recipe: str, job: str, cfg: str):
    checked(sdxl, recipe, ALL[recipe], cfg, job=job)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(("recipe", "cfg"), [(SDFM, CLAMPED), (ORIGINAL, WEAK)])
def test_kinds_of_jobs_with_sd1(sd1: Bench, recipe: str, job: str, cfg: str):
    checked(sd1, recipe, ALL[recipe], cfg, job=job)
