"""The page's script in a WebUI in which SDFM stands aside."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nothing_begins_without_the_panel():
    """The hosts load scripts and styles of an extension also where its script does nothing."""
    script = (ROOT / "javascript" / "sdfm.js").read_text(encoding="utf8")
    assert len(re.findall(r"\bonUiLoaded\(", script)) == 1 and "onSdfmLoaded = (start) => onUiLoaded(" in script
    at_once = [
        name for name in ("onUiUpdate", "onAfterUiUpdate", "MutationObserver", "document.addEventListener") if name in script
    ]
    assert not at_once


def test_styles_are_for_our_own_elements():
    style = re.sub(r"/\*.*?\*/", "", (ROOT / "style.css").read_text(encoding="utf8"), flags=re.DOTALL)
    selectors = [part.strip() for block in re.findall(r"([^{}]+)\{", style) for part in block.split(",")]
    foreign = [selector for selector in selectors if "sdfm" not in selector and not selector.startswith("@")]
    assert foreign == []
