"""AUTOMATIC1111 1.10: a run is one call of ``p.sample``, attached to the sampler of each of its passes.

What is touched, and put back when the call ends, however it ends: on the sampler instance ``func``, on its CFG denoiser
``combine_denoised``, a hook on the denoiser's inner model; and, during an extra prediction, hooks on attention modules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..ops.spaces import denoised_to_eps, eps_to_denoised
from ..sampling.clock import LastCalls, StepClock, dpm_fast_calls, second_order_calls, single_calls
from ..sampling.plan import Plan, compose, guidance_scale, perturbations
from ..sampling.prediction import Prediction
from ..sampling.step import Step
from .attention import perturbed_attention
from .attributes import InstanceAttribute
from .calls import CallRecorder

RUN = "sdfm_run"
"""Attribute of the processing object that holds the run while it samples."""

CALLBACK_ENDS_STEP = ("PLMS", "DPM adaptive")
OWN_STEPS = ("DPM fast", "DPM adaptive", "Restart")
"""Samplers whose number of steps is not that of the schedule."""


class A1111Run:
    """One call of ``p.sample`` with a plan.

    :param plan: the active techniques
    :param p: the host's processing object
    :param unet: gives the diffusion model that is loaded at the moment (a refiner changes it)
    """

    def __init__(self, plan: Plan, p: Any, unet: Callable[[], nn.Module]) -> None:
        self._plan, self._p, self._unet = plan, p, unet
        self._pass: _Pass | None = None
        self._problem: Exception | None = None
        self._attached = 0

    def sample(self, sample: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls the host's ``p.sample`` with the run attached to each pass.

        :raises UnsupportedError: if a pass could not be guided as asked for
        """
        mark = InstanceAttribute(self._p, RUN, self)
        try:
            result = sample(*args, **kwargs)
        finally:
            self._end_pass()
            mark.restore()
        self._raise_problem()
        if not self._attached:
            raise UnsupportedError("the picture was sampled without SDFM: another script replaces the sampling")
        return result

    def before_pass(self) -> None:
        """Attaches to ``p.sampler``: the host calls this before each pass, and swallows exceptions."""
        self._end_pass()
        try:
            self._pass = _Pass(self._plan, self._p, self._unet)
            self._attached += 1
        except Exception as problem:  # raised by `sample`, where the user sees it
            self._problem = problem

    def before_call(self, params: Any) -> None:
        """Looks at a denoiser call after a refiner had its turn: the host swallows exceptions here as well."""
        if self._pass is None or params.denoiser is not self._pass.denoiser:
            self._problem = self._problem or UnsupportedError(
                "the picture was sampled without SDFM: another script or extension made its own sampler"
            )
            return
        self._pass.before_call(params)

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._pass.detach()
            self._problem = self._problem or self._pass.problem
        self._pass = None

    def _raise_problem(self) -> None:
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem


class _Pass:
    """One pass (base or hires): one sampler, one denoiser."""

    def __init__(self, plan: Plan, p: Any, unet: Callable[[], nn.Module]) -> None:
        sampler = p.sampler
        self.problem: Exception | None = None
        self.denoiser = sampler.model_wrap_cfg
        self._plan, self._unet = plan, unet
        self._hires = bool(getattr(p, "is_hr_pass", False))
        self._sampler_name, self._options = sampler.config.name, sampler.config.options
        self._combine = self.denoiser.combine_denoised
        self._clock = StepClock(single_calls)
        self._total: int | None = None
        self._params: Any = None
        self._step_index = 0
        self._recorder = CallRecorder()
        self._attributes = [
            InstanceAttribute(self.denoiser, "combine_denoised", self._combine_denoised),
            InstanceAttribute(sampler, "func", self._wrap_sampler(sampler.func)),
        ]

    def detach(self) -> None:
        """Puts everything back; harmless when called again."""
        for attribute in self._attributes:
            attribute.restore()
        self._attributes = []
        self._recorder.detach()
        if self._params is not None and self.problem is None:
            self.problem = UnsupportedError(
                f"the result of a model call was combined without SDFM, at step {self._step_index}: another extension "
                "replaces CFG, or the checkpoint is one for InstructPix2Pix"
            )
        self._params = None

    def before_call(self, params: Any) -> None:
        self._step_index = self._clock.call()
        self._params = params
        self._recorder.follow(self.denoiser.inner_model)

    def _wrap_sampler(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The sampler function with its callback heard; keeps the signature, from which the host picks arguments."""

        @functools.wraps(func)
        def sample(*args: Any, **kwargs: Any) -> Any:
            callback = kwargs.get("callback")
            self._start_clock(kwargs)

            def heard(info: dict[str, Any]) -> None:
                self._clock.callback()
                if callback is not None:
                    callback(info)

            try:
                return func(*args, **{**kwargs, "callback": heard})
            except BaseException:
                self._params = None  # an interrupt or error in the middle of a call is no missed combination
                raise

        return sample

    def _start_clock(self, arguments: dict[str, Any]) -> None:
        """Learns from the sampler's arguments how its steps are made."""
        self._clock = StepClock(None if self._sampler_name in CALLBACK_ENDS_STEP else self._calls_of(arguments))
        self._total = None
        if self._sampler_name not in OWN_STEPS:
            points = arguments.get("sigmas", arguments.get("timesteps"))
            self._total = None if points is None else len(points) - (self._sampler_name != "UniPC")

    def _calls_of(self, arguments: dict[str, Any]) -> LastCalls:
        if self._sampler_name == "DPM fast":
            return dpm_fast_calls(arguments["n"])
        if self._options.get("second_order"):
            return second_order_calls(arguments["sigmas"].tolist())
        return single_calls

    def _combine_denoised(self, x_out: Tensor, conds_list: list, uncond: Any, cond_scale: float) -> Tensor:
        """Stands in for the denoiser's method of this name."""
        if self._params is None:  # detached, or called by someone else
            return self._combine(x_out, conds_list, uncond, cond_scale)
        params, self._params = self._params, None
        step = self._step(params)
        active = self._plan.active(step)
        if not active:
            return self._combine(x_out, conds_list, uncond, cond_scale)
        scale = guidance_scale(active, cond_scale, step)
        space = _Space(self._plan, self.denoiser, params, uncond.shape[0])
        rows = x_out.shape[0] - space.images
        weights, images = _rows_of(conds_list, rows, x_out.device)
        prediction = Prediction(
            cond=space.enter(x_out[:rows], images),
            uncond=space.enter(x_out[rows:]),
            weights=weights,
            images=images,
            cfg_scale=scale,
            perturbed=self._extra_predictions(active, step, space, images),
        )
        guided = compose(active, prediction, step, lambda: space.enter(self._combine(x_out, conds_list, uncond, scale)))
        return space.leave(guided, x_out.dtype)

    def _extra_predictions(self, active: tuple, step: Step, space: _Space, images: Tensor) -> dict[str, Tensor]:
        """The cond rows predicted once more for each technique that perturbs attention."""
        predictions = {}
        for name, perturbation in perturbations(active, step).items():
            with perturbed_attention(self._unet(), perturbation):
                predictions[name] = space.enter(self._recorder.replay(len(images)), images)
        return predictions

    def _step(self, params: Any) -> Step:
        level = float(params.sigma[-1])  # sigma, or the timestep of samplers that count in timesteps
        model = self.denoiser.inner_model
        if hasattr(model, "sigmas"):
            sigma, timestep = level, float(model.sigma_to_t(params.sigma[-1:], quantize=False))
        else:
            alpha_bar = float(self.denoiser.alphas[int(level)])
            sigma, timestep = ((1 - alpha_bar) / alpha_bar) ** 0.5, level
        return Step(
            index=self._step_index,
            total=self._total,
            sigma=sigma,
            timestep=timestep,
            hires=self._hires,
            host_index=params.sampling_step,
            scale_multiplier=self.denoiser.cond_scale_miltiplier,
        )


class _Space:
    """The space in which the techniques compute, beside the one in which the sampler does.

    :param images: number of images of the batch
    """

    def __init__(self, plan: Plan, denoiser: Any, params: Any, images: int) -> None:
        self.images = images
        self._convert = not plan.host_space
        self._alpha_bar: float | None = None
        if self._convert and not hasattr(denoiser.inner_model, "sigmas"):
            self._alpha_bar = float(denoiser.alphas[int(params.sigma[-1])])
            self._x = params.x[-images:].float()

    def enter(self, rows: Tensor, images: Tensor | None = None) -> Tensor:
        """Rows as the host has them, in the techniques' space; ``images`` tells the image of each, else one per image."""
        if not self._convert:
            return rows
        rows = rows.float()
        if self._alpha_bar is None:
            return rows
        return eps_to_denoised(rows, self._x if images is None else self._x[images], self._alpha_bar)

    def leave(self, guided: Tensor, dtype: torch.dtype) -> Tensor:
        """The result in the host's space."""
        if self._alpha_bar is not None:
            guided = denoised_to_eps(guided, self._x, self._alpha_bar)
        return guided.to(dtype)


def _rows_of(conds_list: list, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weight and image of each cond row, from the host's list of (row, weight) per image."""
    weights, images = [0.0] * rows, [0] * rows
    for image, conds in enumerate(conds_list):
        for row, weight in conds:
            weights[row], images[row] = float(weight), image
    return torch.tensor(weights, device=device), torch.tensor(images, device=device)


def run_of(p: Any) -> A1111Run | None:
    """The run that a processing object is sampling with, if any."""
    return getattr(p, RUN, None)
