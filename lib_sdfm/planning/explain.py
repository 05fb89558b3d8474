"""Explanation of generation parameters or a payload in words, for ``POST /sdfm/v1/explain`` and the panel."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import UserError
from ..prompts.marks import mark_notes
from ..schema.feature import Feature
from ..schema.foreign.sampler import HIRES_SAMPLER, SAMPLER, hires_sampler, pass_sampler, shown_name
from ..schema.foreign.writer import writer_of
from ..schema.grammar import NEGATIVE_PROMPT, PROMPT, parse_text, why_unread
from ..schema.host_names import HostNames
from ..schema.hostkeys import is_host_key
from ..schema.infotext import Reading
from ..schema.payload import old_notes, resolve_values
from ..schema.reading import read_parameters
from ..schema.request_sampler import samplers_of_request
from ..schema.settings import Schema, Settings, Values
from ..schema.shapes import TITLE, args_of, shape_notes
from ..schema.titles import ALL_ENTRIES
from .cost import USUAL, CostFacts, cost_of
from .effect import UNKNOWN, JobFacts, features_without_effect, without_features
from .facts import facts_of_request, facts_of_text
from .plan import inert_features, plan_of

BASE_PASSES = 2
"""UNet passes per image and step without SDFM: conditional and unconditional."""
REFINER = "Refiner"
PROMPTS = {
    PROMPT: ("prompt", False), NEGATIVE_PROMPT: ("negative prompt", True), "Hires prompt": ("hires prompt", False),
    "Hires negative prompt": ("hires negative prompt", True),
}  # fmt: skip
"""Keys of the prompts, with their names in messages, and true for negative prompts."""
PROMPT_FIELDS = {
    "prompt": PROMPT, "negative_prompt": NEGATIVE_PROMPT, "hr_prompt": "Hires prompt",
    "hr_negative_prompt": "Hires negative prompt", "refiner_checkpoint": REFINER, "refiner_switch_at": "Refiner switch at",
    "sampler_name": SAMPLER, "hr_sampler_name": HIRES_SAMPLER,
}  # fmt: skip
"""Fields of a request, with the keys that they have priority over."""


def explain_infotext(schema: Schema, text: str, claimed: Collection[str] = (), host: HostNames = HostNames()) -> dict[str, Any]:
    """Return what pasting generation parameters would run, the keys that were understood, and every unknown key.

    :param claimed: keys that the host pastes itself
    :param host: the names that the host looks up
    """
    pairs = parse_text(text)
    reading = read_parameters(schema, pairs, claimed, host)
    facts = facts_of_text(pairs)
    report = explain_values(schema, reading.values, facts) if not reading.errors else {"recipe": reading.values["recipe"]}
    notes = _text_notes(text) + reading.warnings + _mark_notes(schema, pairs, reading.values)
    return {
        **_written_by(pairs), **report, "sampler": _samplers(pairs, host.samplers), "errors": reading.errors, "warnings": notes,
        **_keys(pairs, reading, claimed),
    }  # fmt: skip


def explain_payload(
    schema: Schema,
    body: Mapping[str, Any],
    claimed: Collection[str] = (),
    host: HostNames = HostNames(),
) -> dict[str, Any]:
    """Return what the body of a txt2img or img2img request would run: its ``alwayson_scripts``, and its ``infotext`` if any.

    :param claimed: keys that the host pastes itself
    :param host: the names that the host looks up
    """
    said = body.get("alwayson_scripts")
    scripts = {str(title).lower(): args_of(own) for title, own in said.items()} if isinstance(said, Mapping) else {}
    old = [(entry, scripts.pop(entry.title.lower())) for entry in ALL_ENTRIES if entry.title.lower() in scripts]
    text = body.get("infotext")
    pairs = parse_text(text) if isinstance(text, str) else {}
    reading = read_parameters(schema, pairs, claimed, host)
    args = scripts.pop(TITLE.lower(), [])
    keys = _keys(pairs, reading, claimed)
    asked = {**pairs, **{key: body[name] for name, key in PROMPT_FIELDS.items() if isinstance(body.get(name), str | float)}}
    warnings = [*shape_notes(schema, body), *(_text_notes(text) if isinstance(text, str) else []), *reading.warnings]
    found, missing = samplers_of_request(body, pairs, host)
    warnings += missing
    known = {"sampler": found, **keys, "unknown": [*keys["unknown"], *scripts]}
    try:
        if reading.errors:
            raise UserError("; ".join(reading.errors))
        values = resolve_values(schema, args, old, reading.values)
        warnings += old_notes(old) + _mark_notes(schema, asked, values)
        report = explain_values(schema, values, facts_of_request(body, asked))
        return {**_written_by(pairs), **report, "errors": [], "warnings": warnings, **known}
    except UserError as error:
        return {"errors": [error.for_api()], "warnings": warnings, **known}


def _written_by(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """Return who wrote a text."""
    writer = writer_of(pairs)
    return {"written_by": str(writer) or None, "extensions": list(writer.extensions)}


def _text_notes(text: str) -> list[str]:
    why = why_unread(text)
    return [] if why is None else [why]


def _mark_notes(schema: Schema, pairs: Mapping[str, Any], values: Values) -> list[str]:
    """Return the notes on marks in the prompts of a text or request."""
    prompts = [(name, str(pairs.get(key) or ""), negative) for key, (name, negative) in PROMPTS.items()]
    return mark_notes(prompts, bool(pairs.get(REFINER)), values.get("refiner_sync.enabled") is not False)


def _samplers(pairs: Mapping[str, Any], samplers: Collection[str]) -> dict[str, Any] | None:
    """Return a text's sampler and schedule by the host's names, those of its hires pass if any; ``None`` if unknown."""
    found = pass_sampler(pairs, samplers)
    name, schedule = hires_sampler(pairs, samplers)
    hires = {} if name is None else {"hires": {"name": shown_name(name, samplers), "schedule": schedule}}
    return None if found is None else {"name": found[0], "schedule": found[1], **hires}


def _keys(pairs: Mapping[str, Any], reading: Reading, claimed: Collection[str]) -> dict[str, list[str]]:
    """Return the understood and the unknown keys of generation parameters."""
    others = [key for key in pairs if key not in reading.used]
    unknown = [key for key in others if not is_host_key(key) and key not in claimed]
    return {"understood": [key for key in pairs if key in reading.used], "unknown": unknown}


def explain_values(schema: Schema, values: Values, facts: JobFacts = UNKNOWN) -> dict[str, Any]:
    """Return recipe, techniques with their values, what is inert and why, further conditions, and the cost.

    :param facts: what is known of the job
    :raises SettingError: if a value isn't allowed
    """
    settings = schema.settings(values)
    return {
        "recipe": settings.recipe,
        "techniques": {name: dataclasses.asdict(chosen) for name, chosen in settings.techniques.items()},
        "standing": {feature.name: dataclasses.asdict(feature.settings) for feature in schema.by_default(settings)},
        "inert": [{"technique": feature.name, "why": why} for feature, why in idle_features(schema, settings, facts)],
        "conditions": _conditions(schema, settings, facts),
        "passes": unet_passes(schema, settings, facts),
    }


def idle_features(schema: Schema, settings: Settings, facts: JobFacts) -> list[tuple[Feature, str]]:
    """Return the features that are on and have no effect, with the reason."""
    return [*inert_features(schema, settings), *features_without_effect(schema, settings, facts)]


def _working_settings(schema: Schema, settings: Settings, facts: JobFacts) -> Settings:
    return without_features(settings, [feature for feature, _ in features_without_effect(schema, settings, facts)])


def _conditions(schema: Schema, settings: Settings, facts: JobFacts) -> list[dict[str, str]]:
    """Return the conditions on the model and the host's settings for the techniques that are not inert."""
    plan = plan_of(schema, _working_settings(schema, settings, facts))
    working = {technique.name: technique for hires in (False, True) for technique in plan.working(hires)}
    wanted = {name: technique.condition() for name, technique in working.items()}
    return [{"technique": name, "needs": needed} for name, needed in wanted.items() if needed is not None]


def unet_passes(schema: Schema, settings: Settings, facts: JobFacts = UNKNOWN) -> dict[str, int]:
    """Return the UNet passes per image and step, inside the techniques' windows; ``least`` if some may be left out."""
    working = plan_of(schema, _working_settings(schema, settings, facts)).working(hires=False)
    extra = {technique.name: technique.passes(hires=False) for technique in working}
    total, spared = BASE_PASSES + sum(extra.values()), sum(technique.spares(hires=False) for technique in working)
    return {"base": BASE_PASSES, **extra, **({"least": total - spared} if spared else {}), "total": total}


def cost_in_words(schema: Schema, settings: Settings, job: JobFacts = UNKNOWN, cost: CostFacts = USUAL) -> str:
    """Return the time that settings take, in words.

    :param job: what is known of the job
    :param cost: the job's passes
    """
    return cost_of(plan_of(schema, _working_settings(schema, settings, job)), cost).words
