"""Conversion of settings to a plan."""

from __future__ import annotations

from ..sampling.plan import Plan
from ..schema.feature import Feature
from ..schema.settings import Schema, Settings
from .technique import Technique


def plan_of(schema: Schema, settings: Settings) -> Plan:
    """Return the techniques that settings switch on, in the order in which they compose."""
    techniques = tuple(feature for feature in schema.chosen(settings) if isinstance(feature, Technique))
    return Plan(settings.recipe, techniques)


def inert_features(schema: Schema, settings: Settings) -> list[tuple[Feature, str]]:
    """Return the features that are on and have no effect in either pass, with the reason."""
    plan = plan_of(schema, settings)

    def why(feature: Feature, hires: bool) -> str | None:
        return plan.why_inert(feature, hires) if isinstance(feature, Technique) else feature.inert(hires)

    reasons = [(f, why(f, hires=False)) for f in schema.chosen(settings) if why(f, hires=True)]
    return [(feature, reason) for feature, reason in reasons if reason]
