"""Claims of papers and of our own texts about quality, and the verdicts of the figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np

from bench.quality.resampling import LEVEL, interval
from bench.quality.results import Results
from lib_sdfm.errors import UserError

ADHERENCE, AGREEMENT, DISTANCE = "adherence", "agreement", "distance"
HOLDS, FAILS, SAME, UNDECIDED = "holds", "does not hold", "no difference", "undecided"
MARGINS = {ADHERENCE: 0.05, AGREEMENT: 0.05, DISTANCE: 0.05}
"""How much worse is "as good", and how little is "no difference"."""


@dataclass(frozen=True)
class Claim:
    """One setting (the best of several) does better than another (the best of several), or as good.

    :param text: for readers
    :param measure: adherence, agreement or distance
    :param equal: claimed is only that it is not worse
    """

    text: str
    measure: str
    better: tuple[str, ...]
    than: tuple[str, ...]
    equal: bool = False


@dataclass(frozen=True)
class Finding:
    """A claim and its figure: how much better, with its own 95% interval; negative if it is worse.

    :param comparisons: of which it is one
    """

    claim: Claim
    gain: float
    low: float
    high: float
    comparisons: int = 1

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval, widened so that those of all comparisons hold together with 95% (Bonferroni): its ends lie as many
        standard errors away as that takes."""
        share = (1 - LEVEL / 100) / 2
        wider = NormalDist().inv_cdf(1 - share / self.comparisons) / NormalDist().inv_cdf(1 - share)
        return self.gain - (self.gain - self.low) * wider, self.gain + (self.high - self.gain) * wider

    @property
    def verdict(self) -> str:
        """The verdict of the widened interval on the claim."""
        low, high = self.bounds
        margin = MARGINS[self.claim.measure]
        least = -margin if self.claim.equal else 0.0
        if low > least:
            return HOLDS
        if high < least:
            return FAILS
        return SAME if -margin < low and high < margin else UNDECIDED

    def as_json(self) -> dict:
        figures = {name: getattr(self, name) for name in ("gain", "low", "high")}
        return {**asdict(self.claim), **figures, "bounds": [round(end, 5) for end in self.bounds], "verdict": self.verdict}


def _by(measures: tuple[str, ...], text: str, better: str, than: str, equal: bool = False) -> tuple[Claim, ...]:
    return tuple(Claim(text, measure, (better,), (than,), equal) for measure in measures)


_both = partial(_by, (ADHERENCE, DISTANCE))
_all = partial(_by, (ADHERENCE, AGREEMENT, DISTANCE))
CONSTANT = tuple(f"CFG {cfg}" for cfg in (1, 2, 4, 7, 12, 20))
IN_INTERVAL = tuple(f"CFG {cfg}, interval" for cfg in (4, 7, 12, 20))
NEGATIVE_NAG = "unwanted background, CFG 1, NAG"
CLAIMS: tuple[Claim, ...] = (
    *_all("PAG helps pictures without a prompt", "no prompt, PAG 3", "no prompt, off"),
    *_all("the same, PAG 1", "no prompt, PAG 1", "no prompt, off"),
    *_all("SEG helps pictures without a prompt", "no prompt, SEG 3", "no prompt, off"),
    *_all("TPG helps pictures without a prompt", "no prompt, TPG 3", "no prompt, off"),
    *_all("PAG helps at CFG 1", "CFG 1, PAG 3", "CFG 1"),
    *_all("PAG helps at CFG 2", "CFG 2, PAG 3", "CFG 2"),
    *_all("SEG helps at CFG 2", "CFG 2, SEG 3", "CFG 2"),
    *_all("TPG helps at CFG 2", "CFG 2, TPG 3", "CFG 2"),
    *_all("PAG helps beside CFG", "CFG 4, PAG 3", "CFG 4"),
    *_all("SEG helps beside CFG", "CFG 4, SEG 3", "CFG 4"),
    *_all("TPG helps beside CFG", "CFG 4, TPG 3", "CFG 4"),
    *_all("SANF helps PAG beside CFG", "CFG 4, PAG 3, SANF", "CFG 4, PAG 3"),
    *_both("dynamic thresholding tames CFG 12", "CFG 12, dynamic thresholding", "CFG 12"),
    *_both("dynamic thresholding tames CFG 20", "CFG 20, dynamic thresholding", "CFG 20"),
    *_both("CFG rescale tames CFG 12", "CFG 12, CFG rescale", "CFG 12"),
    *_both("CFG++ keeps quality at equal adherence (as CFG 4)", "CFG++ 0.32", "CFG 4", equal=True),
    *_both("the same, as CFG 7", "CFG++ 0.56", "CFG 7", equal=True),
    *_both("CFG++ burns less than high CFG", "CFG++ 0.96", "CFG 12"),
    *_both("adaptive guidance at 0.99 is as good as CFG 7", "CFG 7, adaptive guidance 0.99", "CFG 7", equal=True),
    *_both("the same, at 0.999", "CFG 7, adaptive guidance 0.999", "CFG 7", equal=True),
    *_both("APG tames CFG 12", "CFG 12, APG", "CFG 12"),
    *_both("APG tames CFG 20", "CFG 20, APG", "CFG 20"),
    *_both("FDG, composition at 6 and details at 12, tames CFG 12", "CFG 6, FDG, details at 12", "CFG 12"),
    *_both("FDG, details at 8, helps at CFG 2", "CFG 2, FDG, details at 8", "CFG 2"),
    *_both("MaHiRo follows prompts more closely than CFG 4", "CFG 4, MaHiRo", "CFG 4"),
    *_both("the same, than CFG 7", "CFG 7, MaHiRo", "CFG 7"),
    *_both("epsilon scaling helps without guidance", "CFG 1, epsilon scaling", "CFG 1"),
    *_both("epsilon scaling helps beside CFG", "CFG 4, epsilon scaling", "CFG 4"),
    *_both("NAG without a negative prompt helps at CFG 1", "CFG 1, NAG", "CFG 1"),
    *_both("the same, beside CFG", "CFG 4, NAG", "CFG 4"),
    Claim("NAG makes a negative prompt count at CFG 1", ADHERENCE, (NEGATIVE_NAG,), ("unwanted background, CFG 1",)),
    Claim("the same, as much as CFG 4 does", ADHERENCE, (NEGATIVE_NAG,), ("unwanted background, CFG 4",), equal=True),
    *_both("an interval beats constant CFG, at 7", "CFG 7, interval", "CFG 7"),
    *_both("the same, at 12", "CFG 12, interval", "CFG 12"),
    Claim("the best interval beats the best constant CFG", ADHERENCE, IN_INTERVAL, CONSTANT),
    Claim("the same", DISTANCE, IN_INTERVAL, CONSTANT),
    *_both("FreeU helps beside CFG", "CFG 4, FreeU", "CFG 4"),
    *_both("flow: DPM++ 2M at 10 calls equals Euler at 20", "flow, DPM++ 2M, 10 calls", "flow, Euler, 20 calls", equal=True),
    *_both("flow: DPM++ 2M beats Euler, both at 10 calls", "flow, DPM++ 2M, 10 calls", "flow, Euler, 10 calls"),
    *_both("flow: PAG 2 at CFG 3 is as good as CFG 4", "flow, CFG 3, PAG 2", "flow, Euler, 20 calls", equal=True),
    *_both("flow: CFG-Zero* beats CFG 4", "flow, CFG-Zero*", "flow, Euler, 20 calls"),
    *_both("the same, without zero steps", "flow, CFG-Zero*, no zero step", "flow, Euler, 20 calls"),
    *_both("refiner: the synced prompt beats one by number", "refiner, prompt synced", "refiner, prompt by number"),
    *_both("refiner: a prompt that changes is as good as one", "refiner, prompt synced", "refiner, one prompt", equal=True),
)  # fmt: skip


def _best(results: Results, measure: str, names: tuple[str, ...]) -> np.ndarray:
    """Of several settings, chosen anew in each replicate: the interval knows that the best was picked."""
    found = np.stack([results.replicates(measure, name) for name in names])
    return -found.min(0) if measure == DISTANCE else found.max(0)


def findings(results: Results) -> list[Finding]:
    """Of all claims whose settings are there."""
    found = []
    for claim in CLAIMS:
        if results.has(*claim.better, *claim.than):
            gain = _best(results, claim.measure, claim.better) - _best(results, claim.measure, claim.than)
            figures = (round(float(figure), 5) for figure in (gain[0], *interval(gain)))
            found.append(Finding(claim, *figures, len(CLAIMS)))
    return found


def completed(found: list[Finding], before: list[dict[str, Any]]) -> list[Finding]:
    """Return the findings of all claims, those that were not measured now from the figures of an earlier run.

    :raises UserError: if there are none of a claim
    """
    now = {finding.claim: finding for finding in found}
    earlier = {(said["measure"], *said["better"], None, *said["than"]): said for said in before}
    missing = [claim for claim in CLAIMS if claim not in now and _key(claim) not in earlier]
    if missing:
        raise UserError(f"not measured yet: {', '.join(sorted({name for c in missing for name in (*c.better, *c.than)}))}")
    figures = ("gain", "low", "high")
    return [
        now[claim] if claim in now else Finding(claim, *(earlier[_key(claim)][name] for name in figures), len(CLAIMS))
        for claim in CLAIMS
    ]


def _key(claim: Claim) -> tuple[str | None, ...]:
    return claim.measure, *claim.better, None, *claim.than
