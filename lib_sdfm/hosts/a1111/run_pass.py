"""AUTOMATIC1111 1.10: one pass of a run.

The pass replaces ``func`` of the sampler instance and ``combine_denoised`` of its CFG denoiser, and hooks the denoiser's
inner model; during a model call it also hooks modules of the UNet. All of it is restored when the pass ends.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ...errors import UnsupportedError
from ...sampling.model_call import ModelCall
from ...sampling.plan import Plan, compose, guidance_scale
from ...sampling.prediction import Prediction
from ...sampling.stages import Perturbation
from ..attention import ChangedTokens
from ..attributes import InstanceAttribute, undo_all, undone_on_failure
from ..cross_attention import CrossGuidance, TextHost
from ..model_kind import Copies, LevelTable, is_flow_model, unet_time
from ..run import Ways, WholePasses, together_of
from ..steps import SamplerSteps, asked_scale
from ..unet_layers import UnetLayers, owner_of
from .attention import PerturbedAttention
from .combination import who_combines
from .cond_only import CondOnly
from .cross_attention import CondFirst, images_by_latent, images_of_prompts
from .denoiser_call import DenoiserCall
from .model_outputs import DenoisedCallbacks, ModelOutputs
from .recorded_calls import CallRecorder
from .space import Space


class A1111Pass:
    """A pass attached to ``p.sampler`` from construction until :meth:`detach`.

    :param plan: the active techniques
    :param p: the host's processing object
    :param text: encodes negative prompts and attends to them
    :param ways: is told of whole passes beside other extensions
    :param callbacks: the host's, between the model and CFG
    """

    def __init__(
        self,
        plan: Plan,
        p: Any,
        text: TextHost,
        ways: Ways | None = None,
        callbacks: DenoisedCallbacks = DenoisedCallbacks(),
    ) -> None:
        sampler = p.sampler
        self.problem: Exception | None = None
        self.denoiser = sampler.model_wrap_cfg
        self._plan, self._p = plan, p
        self._combine, self._combined_by = self.denoiser.combine_denoised, who_combines(self.denoiser)
        self._recorder = CallRecorder()
        self._outputs = ModelOutputs(self._recorder, callbacks)
        self._around: tuple[str, ...] = ()
        self._call: DenoiserCall | None = None
        self._layers: UnetLayers | None = None
        self._tail_fits = True  # until a call goes through the UNet in another way: then whole passes for the rest
        self._together = together_of(p)
        self._whole = WholePasses(ways or Ways())
        self._tables = Copies()
        self._rows: tuple[tuple[list, int], tuple[Tensor, Tensor]] | None = None
        self._cross = CrossGuidance(plan, p, text)
        self._combination = InstanceAttribute(self.denoiser, "combine_denoised", self._combine_denoised)
        with undone_on_failure(self._cross.detach, self._combination.restore):
            self._steps = SamplerSteps(sampler, self._drop_call, plan)

    def detach(self) -> None:
        """Restore everything; may be called again."""
        attached = (self._combination.restore, self._steps.detach, self._recorder.detach, self._end_call, self._cross.detach)
        undo_all(*attached)

    def _end_call(self) -> None:
        """Drop a call whose predictions were never combined, which is an error."""
        if self._call is not None:
            by = ", ".join(self._around)
            self.problem = self.problem or UnsupportedError(
                f"the result of a model call was combined without SDFM, at step {self._call.model_call.index}: "
                + (f"{by} replaces CFG" if by else "another extension replaces CFG, or this is an InstructPix2Pix checkpoint")
            )
        self._drop_call()

    def before_call(self, params: Any, run_call: int) -> None:
        """Prepare for the model calls of one denoiser call. The host swallows exceptions here: they are kept and raised later.

        :param run_call: denoiser calls of this run so far
        """
        self._drop_call()
        try:
            self._plan.require_fits(self.denoiser, self._p.sampler.config.name)
            self._recorder.follow(self.denoiser.inner_model, self._begin_predicting)
            step = self._step(params, run_call)
            self._call = DenoiserCall(params, step, self._plan.active(step))
            if self._can_leave_out_uncond(self._call):
                self._call.cond_only = CondOnly(self.denoiser.inner_model, self._call.cond_rows)
        except Exception as problem:  # raised when the call's result is combined
            self.problem = self.problem or problem

    def _begin_predicting(self) -> None:
        """Attach what changes the main prediction as the model is first called: other extensions have attached theirs by then.

        Where they have changed the UNet, the host's calls stay as they are, and perturbed predictions are whole.
        """
        call = self._call
        if call is None:
            return
        call.begun, unet = True, self._unet_layers()
        asks = bool(call.changes) or call.cond_only is not None
        self._whole.begin(unet.changed_by_others() if asks else (), call.perturbing, call.params.x.device)
        self._around = self._wrapped_by()
        if self._outputs.begin(self._around) or self._whole.names:
            self._recorder.keeps_outputs = bool(call.changes)
            call.keep_host_rows()
        shares = self._tail_fits and not self._whole.names
        call.attach(unet, self._recorder, self._together if shares else None)
        self._attach_cross(call)

    def _wrapped_by(self) -> tuple[str, ...]:
        """Return who has put something in place of our combination, which may change the predictions and then call ours."""
        current = self.denoiser.combine_denoised
        return () if current == self._combine_denoised else (owner_of(current),)

    def _attach_cross(self, call: DenoiserCall) -> None:
        if self._cross.technique is None:
            return
        own_rows = lambda: None if call.shared is None else call.shared.own_rows  # noqa: E731
        rows = CondFirst(self._images_of_calls(call), self._recorder, self._cross.technique.label, own_rows)
        self._cross.attach(call.active, call.model_call, self._unet_layers(), self.denoiser.step, rows.images)

    def _images_of_calls(self, call: DenoiserCall) -> list[int]:
        """Return the image of each conditional row, in the order of the model calls."""
        images = images_of_prompts(self.denoiser.sampler.sampler_extra_args["cond"])
        return images_by_latent(images, call.params.x, call.images) if self._outputs.names else images

    def _can_leave_out_uncond(self, call: DenoiserCall) -> bool:
        """Return True if this call's unconditional prediction is not used: CFG scale 1, one prompt of weight 1 per image."""
        if not call.active or self.denoiser.need_last_noise_uncond:
            return False
        scale = guidance_scale(call.active, asked_scale(self._p) * call.model_call.scale_multiplier, call.model_call)
        needed = scale != 1 or any(technique.needs_uncond(call.model_call) for technique in call.active)
        return not needed and has_single_prompts(self.denoiser.sampler.sampler_extra_args["cond"])

    def _drop_call(self) -> None:
        call, self._call = self._call, None
        undo_all(*(() if call is None else (call.detach,)), self._cross.detach_call)

    def _unet_layers(self) -> UnetLayers:
        """Return the layers of the denoiser's model; in img2img after a refiner's batch it may not be the loaded one."""
        unet = self.denoiser.inner_model.inner_model.model.diffusion_model
        if self._layers is None or self._layers.unet is not unet:
            self._layers = UnetLayers(unet)
        return self._layers

    def _step(self, params: Any, run_call: int) -> ModelCall:
        multiplier = self.denoiser.cond_scale_miltiplier
        sigma, timestep = self._level(params.sigma[-1:]) if self._plan.needs_level else (None, None)
        return self._steps.next(
            self._p, params, run_call, sigma=sigma, timestep=timestep, scale_multiplier=multiplier,
            flow_model=is_flow_model(self.denoiser.inner_model.inner_model),
        )  # fmt: skip

    def _level(self, level: Tensor) -> tuple[float, float]:
        """Return noise level and model time for a sigma, or for a timestep of timestep samplers: ``(1,)``.

        It is the one number of a call that is waited for.
        """
        model, value = self.denoiser.inner_model, float(level)
        if not hasattr(model, "sigmas"):
            alpha_bar = self._tables.of(model, lambda: self.denoiser.alphas.float().tolist())[int(value)]
            sigma = ((1 - alpha_bar) / alpha_bar) ** 0.5
            return sigma, unet_time(sigma) if is_flow_model(model.inner_model) else value
        if is_flow_model(model.inner_model):
            return value, unet_time(value)
        return value, self._tables.of(model, lambda: LevelTable(model.sigmas)).time_of(value)

    def _combine_denoised(self, x_out: Tensor, conds_list: list, uncond: Any, cond_scale: float) -> Tensor:
        """Replace the denoiser's method of this name."""
        if self.problem is not None:
            raise self.problem
        call, self._call = self._call, None
        if call is None:  # detached, or called by someone else
            return self._combine(x_out, conds_list, uncond, cond_scale)
        try:
            call.end_main_prediction()
            self._cross.require_ran()
            if not call.active:
                return self._combine(x_out, conds_list, uncond, cond_scale)
            return self._guide(call, x_out, conds_list, uncond, cond_scale)
        finally:
            undo_all(call.detach, self._cross.detach_call)

    def _guide(self, call: DenoiserCall, x_out: Tensor, conds_list: list, uncond: Any, cond_scale: float) -> Tensor:
        scale = guidance_scale(call.active, cond_scale, call.model_call)
        space = Space(self.denoiser, call.params, call.images, convert=not self._plan.in_host_space(call.active))
        rows = x_out.shape[0] - call.images
        weights, images = self._rows_of(conds_list, rows, x_out.device)
        has_uncond = call.cond_only is None and sum(self._recorder.rows_of_calls()) > rows
        prediction = Prediction(
            cond=space.enter(x_out[:rows], images),
            uncond=space.enter(x_out[rows:]),
            weights=weights,
            images=images,
            cfg_scale=scale,
            perturbed=self._extra_predictions(call, space, images, x_out, conds_list),
            noisy=space.noisy,
            has_uncond=has_uncond,
        )

        def cfg(at: float) -> Tensor:
            return space.enter(self._combine(x_out, conds_list, uncond, at))

        if self._combined_by is not None and self._plan.computes_cfg(call.active):
            prediction = prediction.combined_by(self._combined_by, cfg)
        return space.leave(compose(call.active, prediction, call.model_call, lambda: cfg(scale)), x_out.dtype)

    def _rows_of(self, conds_list: list, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return :func:`rows_of`, cached while the prompts are joined as in the previous call."""
        if self._rows is None or self._rows[0] != (conds_list, rows):
            self._rows = ((conds_list, rows), rows_of(conds_list, rows, device))
        return self._rows[1]

    def _extra_predictions(
        self, call: DenoiserCall, space: Space, images: Tensor, x_out: Tensor, conds_list: list
    ) -> dict[str, Tensor]:
        """Return an extra prediction of the conditional rows for each technique that perturbs attention."""
        rows = len(images)
        predictions = self._beside_others(call, rows) if self._whole.names else self._alone(call, rows)
        predictions = self._outputs.changed_alike(predictions, x_out, conds_list, ", ".join(call.perturbing))
        return {name: space.enter(predicted, images) for name, predicted in predictions.items()}

    def _alone(self, call: DenoiserCall, rows: int) -> dict[str, Tensor]:
        """Return the perturbed predictions where nobody else has changed the UNet."""
        computed = self._recorder.rows_of_calls(call.cond_only.rows if call.cond_only else None)
        self._tail_fits = self._tail_fits and (call.shared is None or call.shared.possible(computed))
        predictions: dict[str, Tensor] = {}
        if call.shared is not None and self._tail_fits:
            predictions = call.shared.predictions(lambda: self._recorder.replay(rows))
        for name in [name for name in call.changes if name not in predictions]:
            with self._perturbing(call, name, call.changes[name]):
                predictions[name] = self._recorder.replay(rows)
        return predictions

    def _beside_others(self, call: DenoiserCall, rows: int) -> dict[str, Tensor]:
        """Return the perturbed predictions beside extensions that have changed the UNet, from the host's own calls."""
        if not call.changes:
            return {}

        def again() -> Tensor:
            return self._recorder.replay(rows, whole=True)

        shift = self._whole.shift(tuple(self._recorder.rows_of_calls()), self._recorder.outputs(rows), again)
        predictions: dict[str, Tensor] = {}
        for name, change in call.changes.items():
            with self._perturbing(call, name, change):
                predictions[name] = self._whole.repeated(again) + shift
        return predictions

    def _perturbing(self, call: DenoiserCall, name: str, change: Perturbation) -> AbstractContextManager:
        layers = self._unet_layers()
        if change.tokens is None:
            return PerturbedAttention(layers, change)
        label = next(technique.label for technique in self._plan.techniques if technique.name == name)
        rows = CondFirst(self._images_of_calls(call), self._recorder, label)
        return ChangedTokens(layers.select(change.layers), change.tokens, lambda count, _: rows.images(count))


def has_single_prompts(cond: Any) -> bool:
    """Return True if each image has one prompt of weight 1, so that CFG at scale 1 is the conditional prediction.

    :param cond: A1111's conditioning, with the prompts joined by AND per image
    """
    return all(len(prompts) == 1 and prompts[0].weight == 1.0 for prompts in cond.batch)


def rows_of(conds_list: list, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return weight and image of each conditional row, from the host's list of (row, weight) per image."""
    weights = [0.0] * rows
    for conds in conds_list:
        for row, weight in conds:
            weights[row] = float(weight)
    return torch.tensor(weights, device=device), torch.tensor(image_numbers(conds_list, rows), device=device)


def image_numbers(conds_list: list, rows: int) -> list[int]:
    """Return the image of each conditional row, from the host's list of (row, weight) per image."""
    images = [0] * rows
    for image, conds in enumerate(conds_list):
        for row, _ in conds:
            images[row] = image
    return images
