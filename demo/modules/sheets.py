"""The tab with pictures of each technique off and on, and what ``bench.quality`` found."""

from __future__ import annotations

import html
import json
import os
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from modules import paths

FOLDER = os.path.join(paths.script_path, "sheets")
ROUTE = "/sheets"
ABOUT = (
    "Each pair of rows has the same prompts and seeds, the first eight of a measurement. <i>Adherence</i>: the share of all "
    "its pictures that keep what the prompt promises; without a prompt, that could be of this world. <i>Agreement</i>: the "
    "share whose shapes agree with each other. <i>Distance</i> from drawn pictures: 0 is as drawn. In brackets 95% intervals. "
    "Measured by <code>python -m bench.quality</code>."
)


def _figures(row: dict[str, Any]) -> str:
    distance = "distance {:.3f} [{:.3f}, {:.3f}]".format(row["distance"], *row["distance_ci"])
    shares = ", ".join(f"{name} {_share(row, name)}" for name in ("adherence", "agreement"))
    return f"<b>{html.escape(row['setting'])}</b>: {shares}, {distance}, {row['n']} pictures"


def _share(row: dict[str, Any], name: str) -> str:
    return "{:.0f}% [{:.0f}, {:.0f}]".format(*(100 * value for value in (row[name], *row[f"{name}_ci"])))


def _sheet(sheet: dict[str, Any]) -> str:
    first, second = map(_figures, sheet["rows"])
    names = " and ".join(row["setting"] for row in sheet["rows"])
    picture = f'<img src="{ROUTE.strip("/")}/{html.escape(sheet["file"])}" alt="{html.escape(names)}" loading="lazy">'
    return f"<figure><figcaption>{html.escape(sheet['title'])}</figcaption><p>{first}</p>{picture}<p>{second}</p></figure>"


def read() -> list[dict[str, Any]]:
    """The index that ``python -m bench.quality --sheets`` writes."""
    with open(os.path.join(FOLDER, "sheets.json"), encoding="utf8") as file:
        return json.load(file)


def build() -> None:
    """The tab's contents."""
    gr.HTML(f"<p>{ABOUT}</p>" + "".join(map(_sheet, read())), elem_id="sheets")


def serve(app: FastAPI) -> None:
    """The pictures."""
    app.mount(ROUTE, StaticFiles(directory=FOLDER), name="sheets")
