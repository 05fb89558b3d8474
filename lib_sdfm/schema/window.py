"""Settings shared by several techniques: first and last active step in both passes, first and last noise level."""

from __future__ import annotations

from typing import Any

from ..sampling.model_call import TO_THE_END
from .params import WHEN, integer, number

NO_UPPER_END = 100.0
"""Noise level at and above which a window has no upper end."""


def start_step(label: str, key: str = "", **more: Any) -> Any:
    """Declare a technique's first step.

    :param key: beginning of its key in generation parameters, if it isn't the label; such keys are ours
    """
    return _step(
        0, label, "Start Step", f"First step with {label}, counted from 0.", **_origin(label, "Start Step", key), **more
    )


def end_step(label: str, key: str = "", **more: Any) -> Any:
    """Declare a technique's last step; ``key`` as for :func:`start_step`."""
    about = f"Last step with {label}. {TO_THE_END} or more: until the end."
    return _step(TO_THE_END, label, "End Step", about, **_origin(label, "End Step", key), **more)


def hires_start_step(label: str, key: str = "", **more: Any) -> Any:
    """Declare a technique's first step in the hires pass; ``key`` as for :func:`start_step`."""
    about = f"First step with {label} in the hires pass, counted from 0."
    name = "Hires Start Step"
    return _step(None, label, name, about, key=f"{key or label} {name}", own=True, follows="start_step", **more)


def hires_end_step(label: str, key: str = "", **more: Any) -> Any:
    """Declare a technique's last step in the hires pass; ``key`` as for :func:`start_step`."""
    about = f"Last step with {label} in the hires pass. {TO_THE_END} or more: until the end."
    name = "Hires End Step"
    return _step(None, label, name, about, key=f"{key or label} {name}", own=True, follows="end_step", **more)


def sigma_from(label: str, key: str, **more: Any) -> Any:
    """Declare the highest noise level with a technique; ``key`` as for :func:`start_step`."""
    about = f"{label} acts up to this noise level (sigma). {NO_UPPER_END:g}: from the first step."
    return _level(NO_UPPER_END, f"{label} sigma from", f"{key} Sigma From", about, **more)


def sigma_to(label: str, key: str, **more: Any) -> Any:
    """Declare the noise level down to which a technique acts; ``key`` as for :func:`start_step`."""
    return _level(
        0.0, f"{label} sigma to", f"{key} Sigma To", f"{label} acts above this noise level (sigma). 0: until the end.", **more
    )


def _origin(label: str, name: str, key: str) -> dict[str, Any]:
    """Return what tells a setting of an original, which has an axis, from one of ours."""
    return {"key": f"{key} {name}", "own": True} if key else {"key": f"{label} {name}", "axis": f"[{label}] {label} {name}"}


def _step(default: int | None, label: str, name: str, about: str, **more: Any) -> Any:
    shown = name.removeprefix("Hires ").lower() + (", hires pass" if name.startswith("Hires") else "")
    return integer(default, 0, slider_maximum=TO_THE_END, place=WHEN, label=f"{label} {shown}", help=about, **more)


def _level(default: float, label: str, key: str, about: str, **more: Any) -> Any:
    return number(default, 0, NO_UPPER_END, step=0.01, place=WHEN, label=label, key=key, help=about, own=True, **more)
