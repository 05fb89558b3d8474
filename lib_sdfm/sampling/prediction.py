"""The model's predictions in one call, for all images of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..ops.guidance import perturbed_term

PLAIN = 1e-3
"""Difference of another extension's combination to plain CFG that rounding may explain, relative to plain CFG's guidance."""


@dataclass(frozen=True)
class Combination:
    """CFG as another extension computes it: prompts that are made perpendicular to each other, say.

    :param by: the extension
    :param scale: the CFG scale of the call, 1 in place of 0
    :param at_scale: its result at that scale, ``(B, C, H, W)``
    :param at_one: its result at CFG scale 1
    """

    by: str
    scale: float
    at_scale: Tensor
    at_one: Tensor


@dataclass(frozen=True)
class Prediction:
    """Predictions of one denoiser call, N conditional rows for B images (AND prompts: several rows per image).

    In recipe sdfm all are denoised images x0 in float32; in recipe original they are in the sampler's own space
    (x0 for k-diffusion samplers, noise for timestep samplers).

    :param cond: ``(N, C, H, W)``
    :param uncond: ``(B, C, H, W)``; equals the first conditional row of each image if the host skipped it
    :param weights: ``(N,)``, the weights of AND
    :param images: ``(N,)`` int64, the image of each conditional row
    :param cfg_scale: the CFG scale of this call, with the sampler's multiplier
    :param perturbed: the conditional rows with perturbed attention, ``(N, C, H, W)`` by the technique's name
    :param has_uncond: false if the unconditional rows were not predicted
    :param combination: CFG as another extension computes it where that isn't plain CFG, else ``None``
    :param noisy: the noisy latents, ``x0 + sigma * noise`` in float32, ``(B, C, H, W)`` (recipe sdfm)
    """

    cond: Tensor
    uncond: Tensor
    weights: Tensor
    images: Tensor
    cfg_scale: float
    perturbed: dict[str, Tensor] = field(default_factory=dict)
    noisy: Tensor | None = None
    has_uncond: bool = True
    combination: Combination | None = None

    def weighted(self, rows: Tensor) -> Tensor:
        """Return rows ``(N, C, H, W)`` times their weights."""
        return rows * self.weights.view(-1, 1, 1, 1)

    def sum_per_image(self, rows: Tensor) -> Tensor:
        """Sum rows ``(N, C, H, W)`` over the prompts of each image, to ``(B, C, H, W)``."""
        return rows.new_zeros(self.uncond.shape).index_add_(0, self.images, rows)

    def cond_per_image(self) -> Tensor:
        """Return the conditional prediction of each image, ``(B, C, H, W)``: the weighted mean over its prompts.

        Weights that sum to 0 (one prompt against another) have no mean; then the plain mean is used. Where another extension
        combines the prompts it is its result at CFG scale 1.
        """
        if self.combination is not None:
            return self.combination.at_one
        total = self.weights.new_zeros(len(self.uncond)).index_add_(0, self.images, self.weights)
        count = self.weights.new_zeros(len(self.uncond)).index_add_(0, self.images, self.weights.new_ones(len(self.images)))
        share = torch.where(total[self.images] == 0, 1 / count[self.images], self.weights / total[self.images])
        return self.sum_per_image(self.cond * share.view(-1, 1, 1, 1))

    def guidance(self) -> Tensor:
        """Return CFG's direction for each image, ``sum_j w_j * (cond_j - uncond)``: ``(B, C, H, W)``.

        Where another extension combines the prompts, it leads from the unconditional prediction to its result.
        """
        if self.combination is not None:
            return (self.combination.at_scale - self.uncond) / self.combination.scale
        return self.plain_guidance()

    def plain_guidance(self) -> Tensor:
        """Return ``sum_j w_j * (cond_j - uncond)`` for each image, ``(B, C, H, W)``, whoever combines the prompts."""
        return self.sum_per_image(self.weighted(self.cond - self.uncond[self.images]))

    def weights_per_image(self) -> Tensor:
        """Return the sum of the prompts' weights of each image, ``(B, 1, 1, 1)``."""
        return self.weights.new_zeros(len(self.uncond)).index_add_(0, self.images, self.weights).view(-1, 1, 1, 1)

    def unguided(self) -> Tensor:
        """Return CFG at scale 1 for each image, ``(B, C, H, W)``: the conditional prediction if its weights sum to 1."""
        if self.combination is not None:
            return self.combination.at_one
        return self.sum_per_image(self.weighted(self.cond)) + self.uncond * (1 - self.weights_per_image())

    def perturbed_terms(self, name: str, scale: float) -> Tensor:
        """Return ``w_j * scale * (cond_j - perturbed_j)`` for each conditional row, ``(N, C, H, W)``.

        :param name: the technique that perturbs
        """
        return self.weighted(perturbed_term(self.cond, self.perturbed[name], scale))

    def require_plain_sum(self, label: str) -> None:
        """Raise :class:`UnsupportedError` if another extension combines the prompts.

        :param label: the technique that needs their sum
        """
        if self.combination is not None:
            raise UnsupportedError(
                f"{label}: {self.combination.by} combines the prompts in its own way, not as a sum. Turn off one of them"
            )

    def cfg_terms(self, label: str) -> Tensor:
        """Return plain CFG's term for each conditional row: ``w_j * s * (cond_j - uncond)``, ``(N, C, H, W)``.

        :param label: the technique that asks, for the error if another extension combines the prompts
        """
        self.require_plain_sum(label)
        return self.weighted(self.cond - self.uncond[self.images]) * self.cfg_scale

    def combined_by(self, by: str, cfg: Callable[[float], Tensor]) -> Prediction:
        """Return this prediction with another extension's CFG in it; itself if that is plain CFG in this call.

        :param by: the extension
        :param cfg: gives its result at a CFG scale, ``(B, C, H, W)``
        """
        scale = self.cfg_scale or 1.0
        at_scale, guidance = cfg(scale), self.plain_guidance() * scale
        if bool((at_scale - self.uncond - guidance).norm() <= PLAIN * guidance.norm()):
            return self
        return replace(self, combination=Combination(by, scale, at_scale, cfg(1.0)))
