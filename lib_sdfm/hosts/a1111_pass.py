"""One pass (base or hires) of a run on AUTOMATIC1111 1.10: one sampler, one CFG denoiser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..sampling.clock import CallClock, LastCalls, StepClock, dpm_fast_calls, dpm_fast_steps, second_order_calls, single_calls
from ..sampling.plan import Plan, compose, guidance_scale, main_perturbations, perturbations, skip_editors
from ..sampling.prediction import Prediction
from ..sampling.stages import Technique
from ..sampling.step import HostCounters, Step
from .attention import PerturbedAttention
from .attributes import InstanceAttribute
from .calls import CallRecorder
from .decoder import EditedSkips
from .space import Space, alpha_bar_of

OWN_STEPS = ("DPM adaptive", "Restart")
"""Samplers that make other steps than the schedule's, how many only they know."""


class A1111Pass:
    """Attached to ``p.sampler`` when made, until :meth:`detach`.

    :param plan: the active techniques
    :param p: the host's processing object
    :param unet: gives the diffusion model that is loaded at the moment
    """

    def __init__(self, plan: Plan, p: Any, unet: Callable[[], nn.Module]) -> None:
        sampler = p.sampler
        self.problem: Exception | None = None
        self.denoiser = sampler.model_wrap_cfg
        self._plan, self._p, self._unet = plan, p, unet
        self._sampler_name, self._options = sampler.config.name, sampler.config.options
        self._combine = self.denoiser.combine_denoised
        self._clock, self._total = StepClock(single_calls), None
        self._recorder = CallRecorder()
        self._call: _DenoiserCall | None = None
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
        if self._call is not None:
            self.problem = self.problem or UnsupportedError(
                f"the result of a model call was combined without SDFM, at step {self._call.step.index}: another extension "
                "replaces CFG, or the checkpoint is one for InstructPix2Pix"
            )
        self._drop_call()

    def before_call(self, params: Any, run_call: int) -> None:
        """Gets ready for the model calls of one denoiser call. The host swallows exceptions here: they are kept.

        :param run_call: denoiser calls of this run so far
        """
        self._drop_call()
        try:
            self._recorder.follow(self.denoiser.inner_model)
            step = self._step(params, run_call)
            self._call = _DenoiserCall(params, step, self._plan.active(step))
            self._call.attach(self._unet(), self._recorder)
        except Exception as problem:  # raised when the call's result is combined
            self.problem = self.problem or problem

    def _drop_call(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.detach()

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
            except BaseException:  # an interrupt or error in the middle of a call is no missed combination
                self._drop_call()
                raise

        return sample

    def _start_clock(self, arguments: dict[str, Any]) -> None:
        """Learns from the sampler's arguments how its steps are made."""
        self._clock = CallClock() if self._sampler_name == "UniPC" else StepClock(self._calls_of(arguments))
        self._total = self._steps_of(arguments)

    def _steps_of(self, arguments: dict[str, Any]) -> int | None:
        if self._sampler_name == "DPM fast":
            return dpm_fast_steps(arguments["n"])
        points = arguments.get("sigmas", arguments.get("timesteps"))
        if self._sampler_name in OWN_STEPS or points is None:
            return None
        return len(points) - (self._sampler_name != "UniPC")

    def _calls_of(self, arguments: dict[str, Any]) -> LastCalls:
        if self._sampler_name == "DPM fast":
            return dpm_fast_calls(arguments["n"])
        if self._options.get("second_order"):
            return second_order_calls(arguments["sigmas"].tolist())
        return single_calls

    def _step(self, params: Any, run_call: int) -> Step:
        level = params.sigma[-1:]  # sigma, or the timestep of samplers that count in timesteps
        alpha_bar = alpha_bar_of(self.denoiser, level)
        if alpha_bar is None:
            sigma, timestep = float(level), float(self.denoiser.inner_model.sigma_to_t(level, quantize=False))
        else:
            sigma, timestep = ((1 - alpha_bar) / alpha_bar) ** 0.5, float(level)
        return Step(
            index=self._clock.call(),
            total=self._total,
            sigma=sigma,
            timestep=timestep,
            hires=bool(getattr(self._p, "is_hr_pass", False)),
            scale_multiplier=self.denoiser.cond_scale_miltiplier,
            host=HostCounters(
                lagging=params.sampling_step,
                call=self.denoiser.step,
                calls=self.denoiser.total_steps,
                run_call=run_call,
                pass_steps=params.total_sampling_steps,
                job_steps=self._p.steps,
                job_cfg_scale=self._p.cfg_scale,
                hires_sampler=bool(getattr(self._p, "hr_sampler_name", None)),
            ),
        )

    def _combine_denoised(self, x_out: Tensor, conds_list: list, uncond: Any, cond_scale: float) -> Tensor:
        """Stands in for the denoiser's method of this name."""
        if self.problem is not None:
            raise self.problem
        call, self._call = self._call, None
        if call is None:  # detached, or called by someone else
            return self._combine(x_out, conds_list, uncond, cond_scale)
        try:
            call.end_main_prediction()
            if not call.active:
                return self._combine(x_out, conds_list, uncond, cond_scale)
            return self._guide(call, x_out, conds_list, uncond, cond_scale)
        finally:
            call.detach()

    def _guide(self, call: _DenoiserCall, x_out: Tensor, conds_list: list, uncond: Any, cond_scale: float) -> Tensor:
        scale = guidance_scale(call.active, cond_scale, call.step)
        space = Space(self.denoiser, call.params, uncond.shape[0], convert=not self._plan.in_host_space(call.active))
        rows = x_out.shape[0] - uncond.shape[0]
        weights, images = rows_of(conds_list, rows, x_out.device)
        prediction = Prediction(
            cond=space.enter(x_out[:rows], images),
            uncond=space.enter(x_out[rows:]),
            weights=weights,
            images=images,
            cfg_scale=scale,
            perturbed=self._extra_predictions(call, space, images),
        )

        def plain_cfg() -> Tensor:
            return space.enter(self._combine(x_out, conds_list, uncond, scale))

        return space.leave(compose(call.active, prediction, call.step, plain_cfg), x_out.dtype)

    def _extra_predictions(self, call: _DenoiserCall, space: Space, images: Tensor) -> dict[str, Tensor]:
        """The cond rows predicted once more for each technique that perturbs attention."""
        predictions = {}
        for name, perturbation in perturbations(call.active, call.step).items():
            with PerturbedAttention(self._unet(), perturbation):
                predictions[name] = space.enter(self._recorder.replay(len(images)), images)
        return predictions


class _DenoiserCall:
    """One call of the denoiser: where it stands, and what is attached to the UNet meanwhile."""

    def __init__(self, params: Any, step: Step, active: tuple[Technique, ...]) -> None:
        self.params, self.step, self.active = params, step, active
        self._attention: list[PerturbedAttention] = []
        self._skips: list[EditedSkips] = []

    def attach(self, unet: nn.Module, recorder: CallRecorder) -> None:
        """Attaches what changes the main prediction."""
        conds = self.params.x.shape[0] - self.params.text_uncond.shape[0]
        for perturbation in main_perturbations(self.active, self.step):
            hooks = PerturbedAttention(unet, perturbation, lambda rows: conds - recorder.rows_before())
            self._attention.append(hooks)
            hooks.attach()
        for technique in skip_editors(self.active):
            skips = EditedSkips(unet, functools.partial(technique.skip, step=self.step))
            self._skips.append(skips)
            skips.attach()

    def end_main_prediction(self) -> None:
        """Detaches what concerns the main prediction alone; decoder edits hold for the extra ones too."""
        for hooks in self._attention:
            hooks.detach()
            hooks.require_ran()

    def detach(self) -> None:
        """Detaches everything."""
        for hooks in (*self._attention, *self._skips):
            hooks.detach()


def rows_of(conds_list: list, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weight and image of each cond row, from the host's list of (row, weight) per image."""
    weights, images = [0.0] * rows, [0] * rows
    for image, conds in enumerate(conds_list):
        for row, weight in conds:
            weights[row], images[row] = float(weight), image
    return torch.tensor(weights, device=device), torch.tensor(images, device=device)
