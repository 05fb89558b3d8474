"""Kinds of checkpoints, by the prediction of their UNet."""

from __future__ import annotations

from dataclasses import dataclass

NOISE, V, FLOW = KINDS = ("Noise", "v-prediction", "Flow matching")


@dataclass(frozen=True)
class ModelKind:
    """How a checkpoint is sampled.

    :param name: one of :data:`KINDS`
    :param shift: the shift of a flow model's times
    :param zero_terminal_snr: true if a v model's noise table is rescaled to end in pure noise
    :param host_rescales: true if the WebUI itself rescales it before each picture, by an option or by marks in the file
    """

    name: str
    shift: float | None = None
    zero_terminal_snr: bool = False
    host_rescales: bool = False

    @property
    def is_flow(self) -> bool:
        return self.name == FLOW

    @property
    def knows_pure_noise(self) -> bool:
        """True if it knows noise levels above those of Stable Diffusion's own table."""
        return self.is_flow or self.zero_terminal_snr

    def same_levels(self, other: ModelKind | None) -> bool:
        """Return True if another model has the same noise level at each place of its table; ``None``: an ordinary one."""
        other = other or ModelKind(NOISE)
        return (self.is_flow, self.shift, self.zero_terminal_snr) == (other.is_flow, other.shift, other.zero_terminal_snr)
