"""Facts about a job, as generation parameters and requests tell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..schema.foreign.sampler import SAMPLER
from ..schema.foreign.text import number_of
from ..schema.foreign.windows import first_pass_steps, has_hires_pass, hires_steps
from ..schema.grammar import PROMPT
from .effect import JobFacts, without_uncond

HIRES_PROMPT, HIRES_CFG = "Hires prompt", "Hires CFG Scale"


def facts_of_text(pairs: Mapping[str, Any]) -> JobFacts:
    """Return the facts of parsed generation parameters."""
    has_hires = has_hires_pass(pairs)
    scale = number_of(pairs.get("CFG scale"))
    hires_scale = (number_of(pairs.get(HIRES_CFG)) or scale) if has_hires else scale
    skip_early, minimum = (number_of(pairs.get(key)) or 0.0 for key in ("Skip Early CFG", "NGMS"))
    return JobFacts(
        steps=first_pass_steps(pairs),
        hires_steps=hires_steps(pairs),
        has_hires=has_hires if "Steps" in pairs and "Size" in pairs else None,
        cfg_scales=() if scale is None or hires_scale is None else (scale, hires_scale),
        prompts=[str(pairs.get(key) or "") for key in (PROMPT, HIRES_PROMPT)],
        sampler=str(pairs.get(SAMPLER, "")),
        without_uncond=without_uncond(skip_early, minimum, str(pairs.get("NGMS all steps")) == "True"),
    )


def facts_of_request(body: Mapping[str, Any], asked: Mapping[str, Any]) -> JobFacts:
    """Return the facts of a request's body.

    :param asked: the parameters of its ``infotext``, with what its own fields say instead
    """
    options = body.get("override_settings")
    said = dict(asked)
    fields = {"steps": "Steps", "cfg_scale": "CFG scale", "denoising_strength": "Denoising strength", "hr_cfg": HIRES_CFG}
    said.update({key: body[name] for name, key in fields.items() if number_of(body.get(name)) is not None})
    said.update({key: body[name] for name, key in (("prompt", PROMPT), ("hr_prompt", HIRES_PROMPT)) if body.get(name)})
    if body.get("enable_hr") is True:
        said["Hires upscale"] = body.get("hr_scale") or 2
        said["Hires steps"] = body.get("hr_second_pass_steps") or said.get("Steps")
    elif "init_images" not in body and not has_hires_pass(said):
        said.pop("Denoising strength", None)
    if isinstance(options, Mapping):
        names = {"skip_early_cond": "Skip Early CFG", "s_min_uncond": "NGMS", "s_min_uncond_all": "NGMS all steps"}
        said.update({key: options[name] for name, key in names.items() if name in options})
    facts = facts_of_text(said)
    return replace(facts, has_hires=has_hires_pass(said))
