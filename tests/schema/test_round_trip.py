"""Random jobs, new and old: the text written for a job is read back as that job, by the grammars of all hosts.

``SDFM_ROUND_TRIPS=10000`` makes that many jobs of each kind instead of a few hundred.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UserError
from lib_sdfm.sampling.stages import RECIPES, ModelFacts
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.infotext import read_infotext, write_infotext
from lib_sdfm.schema.originals import FREEU_STAGE, INCANTATIONS, OLD_ENTRIES, OldEntry
from lib_sdfm.schema.params import Param, params_of
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Settings
from tests.schema.test_originals import LAYOUTS

JOBS = int(os.environ.get("SDFM_ROUND_TRIPS", "250"))
LAYERS = ("middle", "middle.0", "input.7.2-9, input.8", "d2.2-9,m0,u0.4", "output.3")
WORDS = ("", "low quality", 'a "quoted" word', "a, b: c", "line\nbreak", "\\[escaped\\]")
VALUE = r'\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)'
HOSTS = {
    "A1111": (r"\s*(\w[\w /-]+):" + VALUE, "v1.10.1"),
    "Forge": (r"\s*(\w[\w /-]+):" + VALUE, "f2.0.1v1.10.1-previous-669-gdfdcbab6"),
    "reForge": (r"\s*(\w[\w /-]+):" + VALUE, "f1.0.0v2-v1.10.1RC-latest-2502-g630cf49b"),
    "Forge Neo": (r"\s*([\w\s/-]+):" + VALUE, "neo-2.29"),
}
"""How each host finds its pairs, and how it signs texts."""
SIZES = re.compile(r"^(\d+)x(\d+)$")


def printed(pairs: dict[str, Any], version: str) -> str:
    """The last line of a text as all hosts print it."""

    def quoted(value: Any) -> str:
        text = str(value)
        return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text

    own = {"Steps": 20, "Sampler": "Euler", "CFG scale": 7.0, "Seed": 1, "Size": "512x512"}
    return ", ".join(f"{key}: {quoted(value)}" for key, value in {**own, **pairs, "Version": version}.items())


def parsed(line: str, grammar: str) -> dict[str, str]:
    """The pairs as a host finds them."""
    found: dict[str, str] = {"Prompt": "p", "Negative prompt": "n", "Hires prompt": ""}
    for key, value in re.findall(grammar, line):
        value = json.loads(value) if value[:1] == '"' == value[-1:] else value
        size = SIZES.match(value)
        found.update({f"{key}-1": size[1], f"{key}-2": size[2]} if size else {key: value})
    return found


def drawn(rng: random.Random, param: Param) -> Any:
    """A value that a setting may have."""
    if param.optional and rng.random() < 0.5:
        return None
    if param.kind == "boolean":
        return rng.random() < 0.5
    if param.kind == "choice":
        return rng.choice(param.choices)
    if param.kind == "text":
        return rng.choice([text for text in (*LAYERS, *WORDS) if _is_allowed(param, text)])
    low, high = param.minimum, param.slider_maximum or param.maximum or 5000
    if param.kind == "integer":
        return rng.choice([rng.randint(int(low), int(high)), int(param.default or low), 2048])
    return rng.choice([rng.uniform(low, high), round(rng.uniform(low, high), 2), float(rng.randint(int(low), int(high)))])


def _is_allowed(param: Param, text: str) -> bool:
    try:
        param.check(text)
        return True
    except UserError:
        return False


def new_job(rng: random.Random) -> Settings:
    """Validated settings of a random job, with what depends on the model filled in."""
    while True:
        values = {**SCHEMA.defaults(), "recipe": rng.choice(RECIPES)}
        for technique in rng.sample(SCHEMA.techniques, rng.randint(1, 4)):
            values[f"{technique.name}.enabled"] = True
            for param in params_of(technique.Settings):
                if values["recipe"] in param.recipes and rng.random() < 0.7:
                    values[f"{technique.name}.{param.name}"] = drawn(rng, param)
        try:
            return SCHEMA.resolved(SCHEMA.settings(values), ModelFacts(sampler="Euler", hires_sampler="Euler"))
        except UserError:  # allowed alone and not together
            continue


def normal(settings: Settings) -> Settings:
    """Settings as far as a text can tell: without values that count for nothing, and the recipe of nothing."""
    features = {feature.name: feature for feature in SCHEMA.chosen(settings) if feature.recorded()}
    chosen = {name: _normal(feature) for name, feature in features.items()}
    return Settings(settings.recipe if chosen or settings.by_default else "sdfm", chosen, settings.by_default)


def _normal(feature: Feature) -> Any:
    own, usual = feature.settings, {}
    for param in params_of(type(own)):
        follows = param.optional and getattr(own, param.name) == getattr(own, param.follows)
        unsaid = follows or param.is_found(own)  # what is found is written once it is
        if unsaid or (param.written_if is not None and not param.written_if(own)):
            usual[param.name] = param.default
    return dataclasses.replace(own, **usual)


@pytest.mark.parametrize("host", HOSTS)
def test_a_job_is_read_back_from_the_text_written_for_it(host: str):
    rng, (grammar, version) = random.Random(host), HOSTS[host]
    for _ in range(JOBS // len(HOSTS) + 1):
        job = new_job(rng)
        line = printed(write_infotext(SCHEMA, job), version)
        reading = read_infotext(SCHEMA, parsed(line, grammar))
        assert reading.errors + reading.warnings == [], line
        assert normal(SCHEMA.settings(reading.values)) == normal(job), line


def incantations(rng: random.Random) -> tuple[str, list[Any]]:
    """A payload in one of the five layouts, with what SDFM has."""
    values: dict[str | None, Callable[[], Any]] = {
        "SEG Blur Sigma": lambda: rng.choice([11, 11.0, rng.randint(0, 22) / 2]),
        "PAG Scale": lambda: rng.choice([1, 1.5, rng.randint(0, 40) / 2]),
        "CFG Interval Schedule": lambda: rng.choice(["Constant", "Cosine", "Interval", "PCS (s=0.1)", "Clamp-Linear (c=4.0)"]),
        "CFG Interval Low": lambda: rng.choice([0, 0.28, 1.5]),
        "CFG Interval High": lambda: rng.choice([100, 5.42, 14.6]),
    }
    layout = rng.choice(list(INCANTATIONS))
    args = list(LAYOUTS[layout])
    for place, (key, default) in enumerate(INCANTATIONS[layout]):
        if key in values:
            args[place] = values[key]()
        elif key is not None and key.endswith(" Step"):
            args[place] = rng.choice([0, rng.randint(0, 150), 2048]) if "End" in key else rng.randint(0, 30)
        elif key is not None and key[:3] in ("SEG", "PAG", "CFG") and isinstance(default, bool):
            args[place] = rng.random() < 0.6
    return "Incantations", args


def freeu(rng: random.Random) -> tuple[str, list[Any]]:
    """A dictionary, or a list of one of its lengths."""
    stages = [[rng.choice([1, 1.0, round(rng.uniform(0, 1), 2)]) for _ in FREEU_STAGE] for _ in range(3)]
    ends = sorted(round(rng.random(), 2) for _ in range(2))
    if rng.random() < 0.5:
        said: dict[str, Any] = {"start_ratio": ends[0], "stop_ratio": rng.choice([ends[1], 12]), "version": rng.choice("12")}
        return "FreeU", [{**said, "stage_infos": [dict(zip(FREEU_STAGE, stage)) for stage in stages[: rng.randint(0, 3)]]}]
    flat = [value for stage in stages for value in stage]
    return "FreeU", [True, *ends, 0.0, rng.choice(["Version 1", "Version 2"]), *flat]


def thresholding(rng: random.Random) -> tuple[str, list[Any]]:
    """A list of one of its lengths."""
    modes = ("Constant", "Linear Down", "Power Up", "Sawtooth")
    args = [
        True, rng.randint(1, 30), rng.choice([100, 99.5]), rng.choice(modes), rng.randint(0, 5), rng.choice(modes), 0, 4.5,
        rng.random() < 0.5, rng.choice(["MEAN", "ZERO"]), rng.choice(["AD", "STD"]), rng.choice([1, 0.3]),
    ]  # fmt: skip
    return "Dynamic Thresholding (CFG Scale Fix)", args[: rng.choice([7, 8, 12])]


ENTRIES = {entry.title: entry for entry in OLD_ENTRIES}


@pytest.mark.parametrize("made", [incantations, freeu, thresholding], ids=lambda made: made.__name__)
def test_an_old_payload_and_the_text_that_the_original_wrote_for_it_are_one(made: Callable[[random.Random], tuple[str, list]]):
    rng = random.Random(made.__name__)
    for number in range(JOBS // 3 + 1):
        title, args = made(rng)
        entry: OldEntry = ENTRIES[title]
        grammar, version = list(HOSTS.values())[number % len(HOSTS)]
        line = printed(entry.pairs(args), version)
        reading = read_infotext(SCHEMA, parsed(line, grammar))
        assert reading.errors + reading.warnings == [], line
        settings = resolve_job(SCHEMA, [], [(entry, [*args, *[""] * (entry.size - len(args))])]).settings
        assert normal(SCHEMA.settings(reading.values)) == normal(settings), line
