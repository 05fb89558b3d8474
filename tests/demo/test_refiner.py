"""Refiner sync in the demo: at each call of the denoiser, which checkpoint and which prompt were used."""

from __future__ import annotations

from contextlib import contextmanager

import torch

REFINER = {"refiner_checkpoint": "demo-second", "refiner_switch_at": 0.5}
MARKED = {"prompt": "[red:blue:refiner] house", "negative_prompt": "[dark:light:refiner], blurry"}
FIRST, SECOND = "demo-first", "demo-second"


def cond_of(text: str) -> torch.Tensor:
    from modules import shared

    return shared.sd_model.get_learned_conditioning([text])[0]


class Texts:
    """Tells which text a cond was made of."""

    def __init__(self, *texts: str) -> None:
        self._conds = {text: cond_of(text) for text in texts}

    def of(self, cond: torch.Tensor) -> str:
        return next(
            (text for text, known in self._conds.items() if known.shape == cond.shape and torch.equal(known, cond)), "?"
        )


@contextmanager
def seen_by(host, *texts: str):
    """A list of (width, checkpoint, prompt, negative prompt), one entry per denoiser call."""
    from modules import shared

    known, seen = Texts(*texts), []

    def look(params) -> None:
        name = shared.sd_model.sd_checkpoint_info.name_for_extra
        seen.append((params.x.shape[-1], name, known.of(params.text_cond[0]), known.of(params.text_uncond[0])))

    with host.callback("cfg_denoiser", look):
        yield seen


HOUSE = ("red house", "blue house", "dark, blurry", "light, blurry")
BEFORE, AFTER = (FIRST, "red house", "dark, blurry"), (SECOND, "blue house", "light, blurry")


def in_step(seen) -> bool:
    """Whether model, prompt and negative prompt change in the same call, once, at a call that isn't the first."""
    states = [state for _, *state in seen]
    switch = states.index(list(AFTER))
    return switch > 0 and states == [list(BEFORE)] * switch + [list(AFTER)] * (len(states) - switch)


def samplers(host) -> list[str]:
    return [sampler["name"] for sampler in host.get("samplers")]


def test_model_and_prompts_change_together_with_every_sampler(host):
    for sampler in samplers(host):
        for by_steps in (False, True):
            with seen_by(host, *HOUSE) as seen:
                answer = host.txt2img(
                    **MARKED, **REFINER, sampler_name=sampler, steps=6,
                    override_settings={"refiner_switch_by_sample_steps": by_steps},
                )  # fmt: skip
            assert answer.status == 200 and not host.swallowed and in_step(seen), (sampler, by_steps, seen)


def test_with_every_schedule(host):
    for schedule in [schedule["label"] for schedule in host.get("schedulers")]:
        with seen_by(host, *HOUSE) as seen:
            host.txt2img(**MARKED, **REFINER, scheduler=schedule, steps=8)
        assert in_step(seen), (schedule, seen)
