"""Minimises a loss: AdamW, a constant rate that falls at the end, a running mean of the weights, and states to go on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DECAY = 0.3
"""Share of the steps in which the rate falls, at the end."""
WARM_UP = 150
AVERAGE = 0.998
LOG_EVERY, SAVE_EVERY = 100, 250
Loss = Callable[[int], Tensor]
"""From a step's number, which decides its random numbers, to what is to be minimised."""


def fit(network: nn.Module, loss: Loss, settings: dict[str, Any], state: Path) -> nn.Module:
    """Minimises; returns the running mean of the weights. Goes on from ``state`` if that exists."""
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, settings["rate"], (0.9, 0.99), weight_decay=0.01, foreach=True)
    total = settings["steps"]
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / WARM_UP, 1.0, max((total - i) / (DECAY * total), 0.02))
    )
    mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=_average)
    parts = {"network": network, "optimizer": optimizer, "rate": rate, "mean": mean}
    begin, recent, started = _resume(parts, state), [], time.perf_counter()
    for i in range(begin, total):
        value = loss(i)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rate.step()
        mean.update_parameters(network)
        recent.append(value.item())
        if (i + 1) % LOG_EVERY == 0:
            print(f"{state.stem} {i + 1}/{total} loss {np.mean(recent):.4f} {time.perf_counter() - started:.0f} s", flush=True)
            recent.clear()
        if (i + 1) % SAVE_EVERY == 0:
            partial = state.with_suffix(".partial")
            torch.save({"step": i + 1} | {name: part.state_dict() for name, part in parts.items()}, partial)
            partial.replace(state)
    return mean.module


def fit_in_rounds(network: nn.Module, loss: Loss, settings: dict[str, Any], state: Path) -> nn.Module:
    """Fit once for each number in ``settings["steps"]``, each time from the last weights at the full rate (warm restarts,
    `Loshchilov and Hutter 2017 <https://arxiv.org/abs/1608.03983>`_). Returns the network with the last round's mean."""
    done = 0
    for number, steps in enumerate(settings["steps"], start=1):
        of_round = partial(_shifted, loss, done)
        mean = fit(network, of_round, {**settings, "steps": steps}, state.with_stem(f"{state.stem}-{number}"))
        network.load_state_dict(mean.state_dict())
        done += steps
    return network


def _shifted(loss: Loss, done: int, step: int) -> Tensor:
    return loss(done + step)


@torch.no_grad()
def _average(old: Sequence[Tensor], new: Sequence[Tensor], updates: Tensor) -> None:
    """A running mean that begins short."""
    torch._foreach_lerp_(old, new, max(1 - AVERAGE, 1 / (1 + float(updates) / 5)))


def _resume(parts: dict[str, Any], state: Path) -> int:
    if not state.exists():
        return 0
    saved = torch.load(state, weights_only=False)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return saved["step"]


def step_random(seed: int, step: int) -> torch.Generator:
    """Each step has its own random numbers: an interrupted run goes on as if it had not been."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)
