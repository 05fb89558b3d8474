"""Texts as the host prints them, and what they can't tell apart."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from lib_sdfm.schema.params import params_of
from lib_sdfm.schema.settings import Settings

HOST_PAIRS = {"Steps": 20, "Sampler": "Euler", "CFG scale": 7.0, "Seed": 1, "Size": "512x512"}


def printed(pairs: dict[str, Any]) -> str:
    """A text as A1111 prints it: ``str``, and JSON where a value holds a comma, colon or line break."""

    def quoted(value: Any) -> str:
        text = str(value)
        return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text

    line = ", ".join(f"{key}: {quoted(value)}" for key, value in {**HOST_PAIRS, **pairs, "Version": "v1.10.1"}.items())
    return f"a cat, SDFM: 9, PAG Scale: 8\nNegative prompt: a dog, PAG Active: True, PAG Scale: 8\n{line}"


def effective(settings: Settings) -> Settings:
    """Settings in which a hires value that equals the first pass' is none."""
    chosen = {}
    for name, own in settings.techniques.items():
        same = {p.name: None for p in params_of(type(own)) if p.optional and getattr(own, p.name) == getattr(own, p.follows)}
        chosen[name] = dataclasses.replace(own, **same)
    return Settings(settings.recipe, chosen)
