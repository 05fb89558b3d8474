"""Tables in documents: ``python -m tools.documents README.md`` brings those of settings up to date; benchmarks bring theirs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.settings import Schema

HEAD = ["setting", "in the API", "key", "default", "allowed", ""]


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


def settings_table(schema: Schema, feature: type[Feature]) -> str:
    """Return the table of a feature's settings."""
    return markdown_table(HEAD, [_row(f) for f in schema.in_panel_order(feature) if f.role == "setting"])


def _row(field: Field) -> list[str]:
    param = field.param
    default = f"as `{param.follows}`" if param.optional else f"`{param.default}`"
    return [param.label, f"`{field.id}`", f"`{param.key}`", default, param.allowed, param.help]


def refreshed(schema: Schema, document: str) -> str:
    """Return a document with the tables of settings made anew."""
    by_name = {feature.name: feature for feature in schema.techniques}
    return with_tables(document, "settings", lambda name: settings_table(schema, by_name[name]))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(refreshed(SCHEMA, path.read_text(encoding="utf8")), encoding="utf8")
