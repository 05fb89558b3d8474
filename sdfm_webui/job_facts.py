"""Facts of a job that decide whether techniques have an effect in it."""

from __future__ import annotations

from typing import Any

from lib_sdfm.planning.effect import JobFacts, without_uncond


def facts_of_job(p: Any, options: Any) -> JobFacts:
    """Return the facts of a processing object.

    :param options: the host's options, ``None`` if unknown
    """
    has_hires = bool(getattr(p, "enable_hr", False))
    steps = _number(p, "steps")
    scale = _number(p, "cfg_scale")
    hires_scale = (_number(p, "hr_cfg") or scale) if has_hires else scale
    return JobFacts(
        steps=None if steps is None else int(steps),
        hires_steps=int(_number(p, "hr_second_pass_steps") or steps or 0) or None,
        has_hires=has_hires,
        cfg_scales=() if scale is None or hires_scale is None else (scale, hires_scale),
        prompts=[str(text) for name in ("prompts", "hr_prompts") for text in getattr(p, name, None) or ()],
        sampler=str(getattr(p, "sampler_name", "")),
        without_uncond=_without_uncond(p, options),
    )


def _without_uncond(p: Any, options: Any) -> str:
    skip_early, all_steps = _number(options, "skip_early_cond") or 0.0, getattr(options, "s_min_uncond_all", False)
    return without_uncond(skip_early, _number(p, "s_min_uncond") or 0.0, bool(all_steps))


def _number(owner: Any, name: str) -> float | None:
    value = getattr(owner, name, None)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
