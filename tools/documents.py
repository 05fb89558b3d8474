"""The README's tables of settings: ``python -m tools.documents README.md`` brings them up to date."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.settings import Schema

MARKED = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = "| setting | in the API | key | default | allowed | |\n|---|---|---|---|---|---|\n"


def settings_table(schema: Schema, technique: type[Feature]) -> str:
    """A Markdown table of a technique's settings."""
    return HEAD + "".join(_row(f) for f in schema.in_panel_order(technique) if f.role == "setting")


def _row(field: Field) -> str:
    param = field.param
    default = f"as `{param.follows}`" if param.optional else f"`{param.default}`"
    return f"| {param.label} | `{field.id}` | `{param.key}` | {default} | {param.allowed} | {param.help} |\n"


def refreshed(schema: Schema, readme: str) -> str:
    """The README with every table between ``<!-- settings: NAME -->`` and ``<!-- end -->`` made anew."""
    by_name = {technique.name: technique for technique in schema.techniques}
    return MARKED.sub(lambda m: m[1] + settings_table(schema, by_name[m[2]]) + m[3], readme)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(refreshed(SCHEMA, path.read_text(encoding="utf8")), encoding="utf8")
