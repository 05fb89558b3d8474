"""What papers and our own texts say about quality, and what the figures say to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from bench.quality_results import Results
from bench.resampling import interval

ADHERENCE, DISTANCE = "adherence", "distance"
HOLDS, FAILS, SAME, UNDECIDED = "holds", "does not hold", "no difference", "undecided"
MARGINS = {ADHERENCE: 0.05, DISTANCE: 0.05}
"""How much worse is "as good", and how little is "no difference"."""


@dataclass(frozen=True)
class Claim:
    """One setting (the best of several) does better than another (the best of several), or as good.

    :param text: for readers
    :param measure: adherence or distance
    :param equal: claimed is only that it is not worse
    """

    text: str
    measure: str
    better: tuple[str, ...]
    than: tuple[str, ...]
    equal: bool = False


@dataclass(frozen=True)
class Finding:
    """A claim and its figure: how much better, with its 95% interval; negative if it is worse."""

    claim: Claim
    gain: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        margin = MARGINS[self.claim.measure]
        least = -margin if self.claim.equal else 0.0
        if self.low > least:
            return HOLDS
        if self.high < least:
            return FAILS
        return SAME if -margin < self.low and self.high < margin else UNDECIDED

    def as_json(self) -> dict:
        figures = {name: round(getattr(self, name), 5) for name in ("gain", "low", "high")}
        return {**asdict(self.claim), **figures, "verdict": self.verdict}


def _both(text: str, better: str, than: str, equal: bool = False) -> tuple[Claim, Claim]:
    return tuple(Claim(text, measure, (better,), (than,), equal) for measure in (ADHERENCE, DISTANCE))


CONSTANT = tuple(f"CFG {cfg}" for cfg in (1, 2, 4, 7, 12, 20))
IN_INTERVAL = tuple(f"CFG {cfg}, interval" for cfg in (4, 7, 12, 20))
CLAIMS: tuple[Claim, ...] = (
    *_both("PAG helps pictures without a prompt", "no prompt, PAG 3", "no prompt, off"),
    *_both("the same, PAG 1", "no prompt, PAG 1", "no prompt, off"),
    *_both("the same, PAG 3 in output.2-3", "no prompt, PAG 3 in output.2-3", "no prompt, off"),
    *_both("SEG helps pictures without a prompt", "no prompt, SEG 3", "no prompt, off"),
    *_both("the same, SEG 1", "no prompt, SEG 1", "no prompt, off"),
    *_both("the same, SEG 3 in output.2-3", "no prompt, SEG 3 in output.2-3", "no prompt, off"),
    *_both("PAG helps beside CFG", "CFG 4, PAG 3", "CFG 4"),
    *_both("the same, PAG 1", "CFG 4, PAG 1", "CFG 4"),
    *_both("PAG helps at low CFG", "CFG 2, PAG 3", "CFG 2"),
    *_both("the same, in output.2-3", "CFG 2, PAG 3 in output.2-3", "CFG 2"),
    *_both("SEG helps beside CFG", "CFG 4, SEG 3", "CFG 4"),
    *_both("SANF helps PAG beside CFG", "CFG 4, PAG 3, SANF", "CFG 4, PAG 3"),
    *_both("dynamic thresholding tames CFG 12", "CFG 12, dynamic thresholding", "CFG 12"),
    *_both("dynamic thresholding tames CFG 20", "CFG 20, dynamic thresholding", "CFG 20"),
    *_both("CFG rescale tames CFG 12", "CFG 12, CFG rescale", "CFG 12"),
    *_both("CFG++ keeps quality at equal adherence (as CFG 4)", "CFG++ 0.32", "CFG 4", equal=True),
    *_both("the same, as CFG 7", "CFG++ 0.56", "CFG 7", equal=True),
    *_both("CFG++ burns less than high CFG", "CFG++ 0.96", "CFG 12"),
    *_both("adaptive guidance at 0.99 is as good as CFG 7", "CFG 7, adaptive guidance 0.99", "CFG 7", equal=True),
    *_both("the same, at 0.999", "CFG 7, adaptive guidance 0.999", "CFG 7", equal=True),
    *_both("an interval beats constant CFG, at 7", "CFG 7, interval", "CFG 7"),
    *_both("the same, at 12", "CFG 12, interval", "CFG 12"),
    Claim("the best interval beats the best constant CFG", ADHERENCE, IN_INTERVAL, CONSTANT),
    Claim("the same", DISTANCE, IN_INTERVAL, CONSTANT),
    *_both("FreeU helps beside CFG", "CFG 4, FreeU", "CFG 4"),
    *_both("flow: DPM++ 2M at 10 calls equals Euler at 20", "flow, DPM++ 2M, 10 calls", "flow, Euler, 20 calls", equal=True),
    *_both("flow: DPM++ 2M beats Euler, both at 10 calls", "flow, DPM++ 2M, 10 calls", "flow, Euler, 10 calls"),
    *_both("flow: PAG 2 at CFG 3 is as good as CFG 4", "flow, CFG 3, PAG 2", "flow, Euler, 20 calls", equal=True),
    *_both("refiner: the synced prompt beats one by number", "refiner, prompt synced", "refiner, prompt by number"),
    *_both("refiner: a prompt that changes is as good as one", "refiner, prompt synced", "refiner, one prompt", equal=True),
)  # fmt: skip


def _best(results: Results, measure: str, names: tuple[str, ...]) -> np.ndarray:
    """Of several settings, chosen anew in each replicate: the interval knows that the best was picked."""
    found = np.stack([results.replicates(measure, name) for name in names])
    return found.max(0) if measure == ADHERENCE else -found.min(0)


def findings(results: Results) -> list[Finding]:
    """Of all claims whose settings are there."""
    found = []
    for claim in CLAIMS:
        if results.has(*claim.better, *claim.than):
            gain = _best(results, claim.measure, claim.better) - _best(results, claim.measure, claim.than)
            found.append(Finding(claim, float(gain[0]), *interval(gain)))
    return found
