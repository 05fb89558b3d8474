"""The hosts' grammar of generation parameters: a text's prompts and pairs, and why the hosts find no pairs in it.

A1111 1.10, Forge and Neo agree: the last line holds ``Key: value`` pairs, at least 3 of them; values with a comma, colon or
line break are JSON strings. The lines before it are the prompt, and the negative prompt from ``Negative prompt:`` on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
MINIMUM_PAIRS = 3
PROMPT, NEGATIVE_PROMPT = "Prompt", "Negative prompt"
NEGATIVE_MARK = f"{NEGATIVE_PROMPT}:"
SURE_KEYS = {"Steps", "Sampler", "Seed", "CFG scale", "Size"}
"""Keys of which every program writes at least two."""
SHOWN_CHARACTERS = 40
JSON_PROGRAMS = (
    ("class_type", "a ComfyUI workflow"),
    ("nodes", "a ComfyUI workflow"),
    ("sui_image_params", "SwarmUI's"),
    ("request_type", "NovelAI's"),
    ("uncond_per_vibe", "NovelAI's"),
    ("adm_guidance", "Fooocus'"),
    ("app_version", "InvokeAI's"),
)
"""Names in the JSON of other programs."""


def parse_infotext(text: str) -> dict[str, str]:
    """Return the pairs of the last line; empty if it is not a parameter line (fewer than 3 pairs)."""
    return _pairs_of(text.strip().split("\n")[-1])


def parse_text(text: str) -> dict[str, str]:
    """Return the pairs of a whole text with its prompts, as the hosts do."""
    *lines, last = text.strip().split("\n")
    pairs = _pairs_of(last)
    if not pairs:
        lines.append(last)
    prompts: dict[str, list[str]] = {PROMPT: [], NEGATIVE_PROMPT: []}
    current = PROMPT
    for line in (line.strip() for line in lines):
        if line.startswith(NEGATIVE_MARK):
            current, line = NEGATIVE_PROMPT, line.removeprefix(NEGATIVE_MARK).strip()
        prompts[current].append(line)
    return {**{key: "\n".join(lines) for key, lines in prompts.items()}, **pairs}


def _pairs_of(line: str) -> dict[str, str]:
    pairs = PAIR.findall(line)
    if len(pairs) < MINIMUM_PAIRS:
        return {}
    return {key: _unquote(value.strip()) for key, value in pairs if value}


def _unquote(value: str) -> str:
    if value[:1] != '"' or value[-1:] != '"':
        return value
    try:
        return str(json.loads(value))
    except json.JSONDecodeError:
        return value


def line_note(pairs: Mapping[str, Any]) -> str | None:
    """Return a note if a line of parameters stands among the prompts, where the hosts take it for prompt.

    :param pairs: the parsed parameters, with the prompts
    """
    lines = [line for key in (PROMPT, NEGATIVE_PROMPT) for line in str(pairs.get(key) or "").split("\n")]
    found = next((line for line in lines if len(SURE_KEYS & set(_pairs_of(line))) > 1), None)
    if found is None or SURE_KEYS & set(pairs):
        return None
    return (
        f"the parameters are not in the last line ({_shown(found)}): the WebUI reads only the last line of a text, and took "
        "this one as part of the prompt. Delete the lines after it"
    )


def why_unread(text: str) -> str | None:
    """Return why the hosts find no parameters in a text, in words; ``None`` if they find some."""
    if parse_infotext(text):
        return None
    if not text.strip():
        return "the text is empty"
    program = _json_program(text)
    if program is not None:
        return f"this is JSON ({program}), not generation parameters: the WebUI takes all of it as the prompt"
    lines = text.strip().split("\n")
    numbers = [number for number, line in enumerate(lines, start=1) if len(SURE_KEYS & set(_pairs_of(line))) > 1]
    if numbers:
        return (
            f"line {numbers[-1]} of {len(lines)} contains the parameters ({_shown(lines[numbers[-1] - 1])}), but the WebUI "
            f"reads only the last line ({_shown(lines[-1])}) and takes everything as the prompt. Delete the lines after it"
        )
    return (
        "no line contains parameters: the WebUI expects at least 3 pairs such as “Steps: 20, Sampler: Euler, Seed: 1” in the "
        "last line, and takes all of the text as the prompt"
    )


def _json_program(text: str) -> str | None:
    """Return whose JSON a text is, ``None`` if it isn't JSON."""
    if text.strip()[:1] not in ("{", "["):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return next((program for word, program in JSON_PROGRAMS if f'"{word}"' in text), "another program's")


def _shown(line: str) -> str:
    line = line.strip()
    return f"“{line}”" if len(line) <= SHOWN_CHARACTERS else f"“{line[:SHOWN_CHARACTERS]}...”"
