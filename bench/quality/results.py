"""All rows together: figures, their intervals and replicates."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from bench.quality.adherence import wilson
from bench.quality.features import drawn, features
from bench.quality.resampling import Target, Weights, interval, shares
from bench.quality.rows import Measured
from bench.quality.settings import Setting
from tools import drawing
from tools.tiny_model import MODELS, load
from tools.tiny_sampling import as_bytes
from tools.train_tiny import as_input

DRAWN = 768
"""Pictures to compare with, of each style, if nothing else is asked for."""
DIGITS = 4
SHARES = {"adherence": "kept", "agreement": "agreeing"}
"""Measures that are shares of pictures, and of which."""
RIDGE = 1e-3


@torch.no_grad()
def coded(pictures: np.ndarray) -> np.ndarray:
    """Pictures as they are after the latent coding: what a perfect model gives. Its loss is no matter of guidance."""
    coding = load(MODELS / "shapes-eps.safetensors").coding
    back = [coding.decode(coding.encode(as_input(part))) for part in np.split(pictures, range(64, len(pictures), 64))]
    return as_bytes(torch.cat(back)).numpy()


@cache
def drawn_features(style: str, seed: int, count: int) -> np.ndarray:
    """Of pictures that no setting has to do with."""
    return features(coded(drawn(count, seed + 1000, style)))


def _rounded(pair: tuple[float, float]) -> list[float]:
    return [round(float(value), DIGITS) for value in pair]


@cache
def _ink_line(seed: int, count: int) -> tuple[np.ndarray, float]:
    """Fisher's linear discriminant between plain and ink drawings: a direction, and the middle on it."""
    plain, ink = (drawn_features(style, seed, count) for style in (drawing.PLAIN, drawing.INK))
    spread = np.cov(np.concatenate([plain - plain.mean(0), ink - ink.mean(0)]).T)
    weights = np.linalg.solve(spread + RIDGE * np.eye(len(spread)), ink.mean(0) - plain.mean(0))
    return weights, float((plain.mean(0) + ink.mean(0)) @ weights / 2)


class Results:
    """:param rows: settings with what was measured of them"""

    def __init__(self, rows: list[tuple[Setting, Measured]], seed: int, drawn_count: int) -> None:
        self._rows = {setting.name: (setting, row) for setting, row in rows}
        self._seed, self._drawn = seed, drawn_count
        self._targets: dict[str, Target] = {}
        self._distances: dict[str, np.ndarray] = {}

    def has(self, *names: str) -> bool:
        return all(name in self._rows for name in names)

    def _weights(self, row: Measured) -> np.ndarray:
        return Weights.chosen(len(row.kept), self._drawn).made

    def _target(self, style: str) -> Target:
        if style not in self._targets:
            chosen = Weights.chosen(1, self._drawn).drawn
            self._targets[style] = Target(drawn_features(style, self._seed, self._drawn), chosen)
        return self._targets[style]

    def replicates(self, measure: str, name: str) -> np.ndarray:
        """A setting's adherence, agreement or distance; the first value is the figure, the others are resampled."""
        setting, row = self._rows[name]
        if measure in SHARES:
            return shares(getattr(row, SHARES[measure]), self._weights(row))
        if name not in self._distances:
            self._distances[name] = self._target(setting.style).distances(row.features, self._weights(row))
        return self._distances[name]

    def row(self, name: str) -> dict[str, Any]:
        """One entry of ``--json``."""
        _, row = self._rows[name]
        distances = self.replicates("distance", name)
        figures = {}
        for measure, part in SHARES.items():
            hits = getattr(row, part)
            figures |= {
                measure: round(float(hits.mean()), DIGITS),
                f"{measure}_ci": _rounded(wilson(int(hits.sum()), len(hits))),
            }
        return {
            "setting": name,
            "n": len(row.kept),
            **figures,
            "distance": round(float(distances[0]), DIGITS),
            "distance_ci": _rounded(interval(distances)),
        }

    def rows(self) -> list[dict[str, Any]]:
        return [self.row(name) for name in self._rows]

    def inked(self, name: str) -> tuple[float, float, float]:
        """Share of pictures that a line through the features puts among ink drawings, with its interval (Wilson)."""
        _, row = self._rows[name]
        weights, middle = _ink_line(self._seed, self._drawn)
        hits = int((row.features @ weights > middle).sum())
        return hits / len(row.kept), *wilson(hits, len(row.kept))
