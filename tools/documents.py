"""Documents made from declarations and figures: ``python -m tools.documents`` (``make docs``) brings them up to date.

``docs/settings.md`` is written whole. Benchmarks fill in the tables of ``docs/benchmarks.md``, with the functions here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.settings import Schema

SETTINGS = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = ["setting", "in the API", "key", "default", "allowed", ""]
INTRODUCTION = """\
# Settings

For everybody who writes requests, presets or X/Y/Z axes by hand: every setting with its name in the panel, in the API and in
generation parameters, its default and its range. What each technique does for a picture is in [techniques.md](techniques.md).
This page is generated from the declarations: to change it, change those and run `make docs`.

"""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, with cells that may be empty."""
    lines = [re.sub(r"\|  (?=\|)", "| ", f"| {' | '.join(cells)} |") for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]) + "\n"


def marked_tables(kind: str) -> re.Pattern[str]:
    """Return the pattern of a table between ``<!-- KIND: NAME -->`` and ``<!-- end -->``; its second group is the name."""
    return re.compile(rf"(<!-- {re.escape(kind)}(?:: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(document: str, kind: str, table_of: Callable[[str], str]) -> str:
    """Return a document with every table of a kind made anew.

    :param table_of: makes the table of a name; of an empty one where a kind has no names
    """
    return marked_tables(kind).sub(lambda found: found[1] + table_of(found[2] or "") + found[3], document)


def settings_document(schema: Schema) -> str:
    """Return the document of all settings: a heading and a table for each feature, in the panel's order."""
    parts = (f"## {feature.label}\n\n{settings_table(schema, feature)}" for feature in schema.techniques)
    return INTRODUCTION + "\n".join(parts)


def settings_table(schema: Schema, feature: type[Feature]) -> str:
    """Return the table of a feature's settings, or a sentence where it has none."""
    rows = [_row(f) for f in schema.in_panel_order(feature) if f.role == "setting"]
    return markdown_table(HEAD, rows) if rows else f"`{feature.name}`: on or off, without settings of its own.\n"


def _row(field: Field) -> list[str]:
    param = field.param
    default = f"as `{param.follows}`" if param.optional else f"`{param.default}`"
    return [param.label, f"`{field.id}`", f"`{param.key}`", default, param.allowed, param.help]


if __name__ == "__main__":
    SETTINGS.write_text(settings_document(SCHEMA), encoding="utf8")
