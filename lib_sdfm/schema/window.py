"""Settings shared by several techniques: first and last active step, in both passes."""

from __future__ import annotations

from typing import Any

from ..sampling.model_call import TO_THE_END
from .params import integer


def start_step(label: str) -> Any:
    """Declare a technique's first step."""
    return _step(0, label, "Start Step", f"First step with {label}, counted from 0.", axis=f"[{label}] {label} Start Step")


def end_step(label: str) -> Any:
    """Declare a technique's last step."""
    about = f"Last step with {label}, inclusive. {TO_THE_END} or more: to the end."
    return _step(TO_THE_END, label, "End Step", about, axis=f"[{label}] {label} End Step")


def hires_start_step(label: str) -> Any:
    """Declare a technique's first step in the hires pass."""
    about = f"First step of the hires pass with {label}, counted from 0."
    return _step(None, label, "Hires Start Step", about, own=True, follows="start_step")


def hires_end_step(label: str) -> Any:
    """Declare a technique's last step in the hires pass."""
    about = f"Last step of the hires pass with {label}, inclusive. {TO_THE_END} or more: to the end."
    return _step(None, label, "Hires End Step", about, own=True, follows="end_step")


def _step(default: int | None, label: str, name: str, about: str, **more: Any) -> Any:
    shown = name.removeprefix("Hires ").lower() + (", hires pass" if name.startswith("Hires") else "")
    return integer(default, 0, slider_maximum=TO_THE_END, label=f"{label} {shown}", key=f"{label} {name}", help=about, **more)
