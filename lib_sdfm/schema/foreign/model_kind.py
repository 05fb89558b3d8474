"""Kinds of models in generation parameters of Forge, Forge Neo and reForge."""

from __future__ import annotations

from dataclasses import dataclass

from ...sampling.model_kind import NOISE, V
from .source import Key, Said, Source
from .text import ForeignText
from .writer import FORGE, NEO, writer_of

OURS = "Model Kind"
SCHEDULE = "Noise Schedule"
DISCRETE = {"v_prediction": V, "eps": NOISE}
"""reForge's names of the kinds, in its mode Discrete."""


@dataclass(frozen=True)
class WrittenBy(Source):
    """A feature whose keys mean it in texts of certain programs only.

    :param writers: names of the programs
    """

    writers: tuple[str, ...] = ()

    def is_present(self, text: ForeignText) -> bool:
        return super().is_present(text) and writer_of(text.pairs).name in self.writers


def _noise_schedule(text: ForeignText) -> Said:
    """Read the key that both write for a checkpoint marked with zero terminal SNR: Forge with the option's value, Default."""
    if text.value(SCHEDULE, "") != "Default":  # may also be the option
        text.name(
            [SCHEDULE], "is taken for a v-prediction checkpoint with zero terminal SNR; noise-predicting ones can't have it"
        )
    return {"kind": (V, SCHEDULE), "zero_terminal_snr": (True, SCHEDULE)}


def is_discrete(text: ForeignText) -> bool:
    """Return True if reForge's keys mean one of our kinds."""
    return text.value("advanced_sampling_mode", "") == "Discrete" and text.value("discrete_sampling", "") in DISCRETE


def _discrete(text: ForeignText) -> Said | None:
    if not is_discrete(text):
        return None
    kind, zero = DISCRETE[text.value("discrete_sampling", "")], text.value("discrete_zsnr", False)
    if zero and kind == NOISE:
        text.name(["discrete_zsnr"], "zero terminal SNR of a noise-predicting model is not supported and was ignored")
    return {"kind": (kind, "discrete_sampling"), "zero_terminal_snr": (zero and kind == V, "discrete_zsnr")}


MODEL_KINDS = (
    WrittenBy(
        SCHEDULE, "the noise schedule", "model", more=_noise_schedule, by_presence=True, unless=OURS, writers=(FORGE, NEO)
    ),
    Source(
        "advanced_sampling_enabled", "reForge's model sampling", "model",
        (Key("advanced_sampling_mode"), Key("discrete_sampling"), Key("discrete_zsnr", False)), _discrete,
    ),
)  # fmt: skip
