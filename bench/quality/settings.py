"""Settings that ``bench.quality`` compares: each is a name and the request that it adds to everybody's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from lib_sdfm.errors import SettingError
from tools import drawing
from tools.shapes import SIZE

CAPTION, NOTHING, SYNCED, BY_NUMBER, UNWANTED = "caption", "nothing", "synced", "by number", "unwanted background"
SWITCH_AT = 0.4
COMMON = {"steps": 20, "cfg_scale": 4, "sampler_name": "Euler", "negative_prompt": "", "width": SIZE, "height": SIZE}
CALLS = (10, 20)
PERTURBED = ("pag", "seg", "tpg")
APG_NORM = 1.9
"""SDXL's 15 for these models' 1024 latent elements: as long for each element."""
ONE_CALL = (
    "Euler", "Euler a", "LMS", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE", "DPM fast", "DDIM",
)  # fmt: skip
TWO_CALLS = ("Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ SDE")
"""Samplers by the model calls of a step; of the latter the last step has one."""
IN_FULL = ("Euler", "DPM++ 2M")
"""Flow samplers about which something is claimed: they get as many pictures as all other settings, the others a quarter."""


@dataclass(frozen=True)
class Setting:
    """One row.

    :param fields: of the request
    :param techniques: what the request asks of SDFM
    :param prompts: what stands in the prompt: the caption; nothing; a caption with other colours and this one where the refiner
        takes over; the same, where the number of the refiner's switch stands instead, as without SDFM; the caption without its
        background, which then only the negative prompt has, as one that is unwanted
    :param style: of the drawn pictures to compare with
    :param part: divides the number of pictures
    :param calls: of the model for each picture, at most
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    techniques: dict[str, Any] = field(default_factory=dict)
    prompts: str = CAPTION
    style: str = drawing.PLAIN
    part: int = 1
    calls: int | None = None

    def request(self) -> dict[str, Any]:
        """The request but for prompts and seeds."""
        return {**COMMON, **self.fields, "alwayson_scripts": {"SDFM": {"args": [self.techniques]}}}

    def checkpoints(self) -> list[str]:
        """Names of those that take part."""
        chosen = self.fields.get("override_settings", {}).get("sd_model_checkpoint", "shapes-eps")
        return [name for name in (chosen, self.fields.get("refiner_checkpoint")) if name]


def at(cfg: float, words: str = "", **techniques: Any) -> Setting:
    """Captions with shapes-eps."""
    return Setting(f"CFG {cfg:g}{words and ', '}{words}", {"cfg_scale": cfg}, techniques)


def _plain() -> Iterator[Setting]:
    yield from (at(cfg) for cfg in (1, 2, 4, 7, 12, 20))
    for cfg in (2, 4):
        yield from (at(cfg, f"{name.upper()} 3", **{name: {"scale": 3}}) for name in PERTURBED)
    yield at(1, "PAG 3", pag={"scale": 3})
    yield at(4, "PAG 3, SANF", pag={"scale": 3, "sanf": True})
    yield at(4, "FreeU", freeu={})
    # the paper's lambda that is as strong as a CFG scale
    yield from (Setting(f"CFG++ {cfg / 12.5:g}", {}, {"cfgpp": {"scale": cfg / 12.5}}) for cfg in (4, 7, 12))
    for cfg in (12, 20):
        yield at(cfg, "dynamic thresholding", dynamic_thresholding={})
        yield at(cfg, "CFG rescale", cfg_rescale={})
    for threshold in (0.99, 0.999):
        yield at(7, f"adaptive guidance {threshold}", adaptive_guidance={"threshold": threshold})
    yield from _guided()
    yield from (at(cfg, "interval", cfg_schedule={"schedule": "Interval"}) for cfg in (4, 7, 12, 20))


def _guided() -> Iterator[Setting]:
    """Methods that take CFG's place or add to it; values are their papers'."""
    for cfg in (12, 20):
        yield at(cfg, "APG", apg={"norm_threshold": APG_NORM})
    yield at(6, "FDG, details at 12", fdg={"ratio": 2})
    yield at(2, "FDG, details at 8", fdg={"ratio": 4})
    for cfg in (4, 7):
        yield at(cfg, "MaHiRo", mahiro={})
    for cfg in (1, 4):
        yield at(cfg, "epsilon scaling", epsilon_scaling={})
        yield at(cfg, "NAG", nag={})
    for cfg, words, asked in ((1, "", {}), (1, ", NAG", {"nag": {}}), (4, "", {})):
        yield Setting(f"unwanted background, CFG {cfg}{words}", {"cfg_scale": cfg}, asked, UNWANTED)


def _without_prompt() -> Iterator[Setting]:
    techniques = {"off": {}, "PAG 1": {"pag": {"scale": 1}}} | {f"{name.upper()} 3": {name: {"scale": 3}} for name in PERTURBED}
    techniques |= {"FreeU": {"freeu": {}}}
    for words, asked in techniques.items():
        yield Setting(f"no prompt, {words}", {"cfg_scale": 1}, asked, NOTHING)


def _checkpoint(name: str) -> dict[str, Any]:
    """The field that chooses it."""
    return {"override_settings": {"sd_model_checkpoint": name}}


def _refined() -> Iterator[Setting]:
    yield Setting("shapes-ink", _checkpoint("shapes-ink"), style=drawing.INK)
    # a schedule for which steps and noise levels are not alike
    fields = {"refiner_checkpoint": "shapes-ink", "refiner_switch_at": SWITCH_AT, "scheduler": "Exponential"}
    yield Setting("refiner, one prompt", fields, style=drawing.INK)
    yield Setting("refiner, prompt synced", fields, prompts=SYNCED, style=drawing.INK)
    yield Setting("refiner, prompt by number", fields, {"refiner_sync": {"numbers": False}}, BY_NUMBER, drawing.INK)


def flow(words: str, part: int = 1, calls: int | None = None, techniques: Any = None, **fields: Any) -> Setting:
    """Captions with shapes-flow."""
    asked = {"flow": {}} if techniques is None else techniques
    return Setting(f"flow, {words}", {**fields, **_checkpoint("shapes-flow")}, asked, part=part, calls=calls)


def _flow() -> Iterator[Setting]:
    yield flow("taken for a noise model", techniques={})
    yield flow("CFG 3, PAG 2", techniques={"flow": {}, "pag": {"scale": 2}}, cfg_scale=3)
    yield flow("CFG-Zero*", techniques={"flow": {}, "cfg_zero": {}})
    yield flow("CFG-Zero*, no zero step", techniques={"flow": {}, "cfg_zero": {"zero_steps": 0}})
    for sampler in (*ONE_CALL, *TWO_CALLS):
        for calls in CALLS:
            steps = calls if sampler in ONE_CALL else (calls + 1) // 2
            part = 1 if sampler in IN_FULL else 4
            yield flow(f"{sampler}, {calls} calls", part, calls, sampler_name=sampler, steps=steps)


SETTINGS: tuple[Setting, ...] = (*_plain(), *_without_prompt(), *_refined(), *_flow())


def chosen(patterns: list[str]) -> list[Setting]:
    """Settings whose names fit one of the patterns; all without any.

    :raises SettingError: if a pattern fits none
    """
    for pattern in patterns:
        if not any(fnmatchcase(setting.name, pattern) for setting in SETTINGS):
            raise SettingError("--only", pattern, f"a pattern that fits one of: {'; '.join(s.name for s in SETTINGS)}")
    return [s for s in SETTINGS if not patterns or any(fnmatchcase(s.name, pattern) for pattern in patterns)]
