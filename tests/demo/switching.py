"""Refiner sync with the shipped models: at each call of the UNet, which checkpoint's weights and which prompts were used."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.hosts.variety import written_in

FIRST, SECOND, FLOW = "shapes-eps", "shapes-ink", "shapes-flow"
SMALL = {"width": 64, "height": 64, "steps": 6}
REFINER = {"refiner_checkpoint": SECOND, "refiner_switch_at": 0.5, **SMALL}
MARKED = {"prompt": "[red:blue:refiner] circle", "negative_prompt": "[small:large:refiner], star"}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.8}
BEFORE, AFTER = (FIRST, "red circle", "small, star"), (SECOND, "blue circle", "large, star")
NO_SYNC = {"refiner_sync": False}
VALUES = {"sampler": "Euler", "scheduler": "Automatic", "steps": 6, "strength": 0.8, "hires": False}
"""Of the panel's controls, as :data:`REFINER` has them."""
FIRST_WEIGHT = "model.diffusion_model.input_blocks.0.0.weight"


class Shipped:
    """A shipped checkpoint, loaded for itself: what its weights are, and what its own text encoder makes of texts."""

    def __init__(self, name: str) -> None:
        from modules import paths
        from modules.text_encoder import TrainedTextEncoder

        file = f"{paths.shipped_models_path}/{name}.safetensors"
        weights = {key: value.float() for key, value in load_file(file).items()}
        with safe_open(file, "pt") as opened:
            config = json.loads(opened.metadata()["sdfm_demo"])
        self.weight, self._encoder, self._conds = weights[FIRST_WEIGHT], TrainedTextEncoder(config["text"]), {}
        prefix = "cond_stage_model."
        own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        self._encoder.load_state_dict(own)

    @torch.no_grad()
    def cond(self, text: str) -> torch.Tensor:
        if text not in self._conds:
            self._conds[text] = self._encoder([text])[0]
        return self._conds[text]


@dataclass(frozen=True)
class Call:
    """One call of the UNet.

    :param state: checkpoint, prompt, negative prompt; a text of another checkpoint's encoder has that one's name before it
    :param timestep: the model's time, as the UNet was told
    :param width: of the latent
    """

    state: tuple[str, str, str]
    timestep: float
    width: int


class Seen(list):
    """The calls of a job, and its processing object."""

    p = None

    @property
    def states(self) -> list[tuple]:
        return [call.state for call in self]

    def of_pass(self, number: int) -> Seen:
        width = sorted({call.width for call in self})[number]
        return Seen(call for call in self if call.width == width)

    @property
    def change(self) -> int | None:
        """The call at which model and both prompts change together; ``None`` if they never do."""
        states, change = self.states, None
        assert set(states) <= {BEFORE, AFTER}, states
        if AFTER in states:
            change = states.index(AFTER)
        assert states == [BEFORE] * (len(states) if change is None else change) + [AFTER] * states.count(AFTER)
        return change


class Switching:
    """Watches jobs of the host.

    :param host: with the shipped checkpoints
    """

    def __init__(self, host) -> None:
        self.host = host
        self._shipped = {name: Shipped(name) for name in (FIRST, SECOND, FLOW)}

    @contextmanager
    def watched(self, *texts: str):
        """The calls of the UNet, whichever model it is of; further texts than the usual are told beforehand."""
        from modules import shared

        seen, hooked, known = Seen(), {}, (*BEFORE[1:], *AFTER[1:], *texts)

        def look(unet, args, kwargs) -> None:
            name = next(name for name, own in self._shipped.items() if torch.equal(own.weight, unet.input_blocks[0][0].weight))
            rows = kwargs["context"]
            state = (name, *(self._text_of(row, name, known) for row in (rows[0], rows[-1])))
            seen.append(Call(state, float(args[1].max()), args[0].shape[-1]))

        own_hook = written_in("modules.lowvram", look)  # beside a hook of others predictions would be whole

        def hook(model) -> None:
            unet = model.model.diffusion_model
            if unet not in hooked:
                hooked[unet] = unet.register_forward_pre_hook(own_hook, with_kwargs=True)

        def job(params) -> None:
            seen.p = params.denoiser.p

        hook(shared.sd_model)
        try:
            with self.host.callback("model_loaded", hook), self.host.callback("cfg_denoiser", job):
                yield seen
        finally:
            for handle in hooked.values():
                handle.remove()

    def _text_of(self, row: torch.Tensor, name: str, known: tuple[str, ...]) -> str:
        for encoder, own in self._shipped.items():
            for text in known:
                if torch.equal(own.cond(text), row):
                    return text if encoder == name else f"{encoder}: {text}"
        return "?"

    def txt2img(self, *texts: str, **fields):
        """A job and its calls of the UNet."""
        with self.watched(*texts) as seen:
            answer = self.host.txt2img(**fields)
        assert answer.status == 200 and not self.host.swallowed, (answer.body, self.host.swallowed)
        return answer, seen


def prompts_of(text: str) -> dict:
    """The stored prompts, as a request."""
    from modules.infotext_utils import parse_generation_parameters

    said = parse_generation_parameters(text)
    names = {"Prompt": "prompt", "Negative prompt": "negative_prompt", "Hires prompt": "hr_prompt",
             "Hires negative prompt": "hr_negative_prompt"}  # fmt: skip
    return {name: said[key] for key, name in names.items() if said.get(key)}


def assert_reproducible(host, answer, **fields) -> None:
    """The stored prompts make the same picture, by the host alone too."""
    stored = {**fields, **prompts_of(answer.text)}
    for args in ((), (NO_SYNC,)):
        assert np.array_equal(host.guided(*args, **stored).pixels, answer.pixels), (args, stored)


def pasted(host, text: str):
    """The picture of a text alone."""
    return host.post("/sdapi/v1/txt2img", {"infotext": text})
