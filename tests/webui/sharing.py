"""A stand-in of extensions that share a job's batch between machines, in the manner of stable-diffusion-webui-distributed.

Observed of it: it packs each script's part of the list of arguments under the script's title, leaves out titles that the
other WebUI lacks, sends the rest of the batch there as JSON, adds what comes back at the end of the job's pictures, and in
its ``postprocess`` puts the parameters that came with them in place of the host's, one place too far if the option for a
grid is on and there is no grid. A refused request is logged, and its pictures are missing.
"""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UserError
from lib_sdfm.schema.infotext import write_infotext
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Settings
from sdfm_webui.foreign_pictures import note_asked, note_local, watch_pictures
from sdfm_webui.stated_args import state_settings

TEXT = "a house\nSteps: 4, Sampler: Euler, CFG scale: 5.0, Seed: {seed}, Size: 64x64"
PLACES = len(SCHEMA.positional)
BEFORE = 3
"""Arguments of other scripts before ours."""


def text_of(settings: Settings | None, seed: int, more: str = "") -> str:
    """Generation parameters as a host writes them."""
    pairs = {} if settings is None else write_infotext(SCHEMA, settings)
    quoted = {key: json.dumps(str(value)) if set(str(value)) & set(",:") else value for key, value in pairs.items()}
    return TEXT.format(seed=seed) + "".join(f", {key}: {value}" for key, value in quoted.items()) + more


def job(args: list[Any], is_api: bool = True, **more: Any) -> SimpleNamespace:
    """A job of four pictures with arguments for our title; the rest of the list is the panel's defaults."""
    defaults = ["" if field is None else field.param.default for field in SCHEMA.positional]
    script = SimpleNamespace(title=lambda: "SDFM", args_from=BEFORE, args_to=BEFORE + PLACES)
    given = ["theirs"] * BEFORE + [*args, *defaults[len(args) :]] + ["theirs"]
    return SimpleNamespace(**{
        "scripts": SimpleNamespace(alwayson_scripts=[script]), "script_args": tuple(given), "is_api": is_api, "batch_size": 4,
        "n_iter": 1, "seed": 5, **more,
    })  # fmt: skip


def own_args(p: Any) -> list[Any]:
    """A job's arguments for our title."""
    return [*p.script_args[BEFORE : BEFORE + PLACES]]


class Machine:
    """Another WebUI.

    :param places: the number of arguments that SDFM has there, ``None`` if it isn't installed
    """

    def __init__(self, places: int | None = PLACES) -> None:
        self.places = places

    def settings(self, payload: str) -> Settings | None:
        """Return what a payload asks of SDFM there; what is more than its list is cut.

        :raises UserError: if it refuses it
        """
        if self.places is None:
            return None
        args = json.loads(payload)["SDFM"]["args"][: self.places]
        return resolve_job(SCHEMA, args).settings


def shared(p: Any, machine: Machine, before_us: bool = False, grid_option: bool = False, local: int = 2) -> Any:
    """The result of a job whose last pictures another machine makes.

    :param before_us: true if the extension's ``postprocess`` is called before ours
    :param grid_option: true if the extension counts with a grid that there isn't
    :param local: how many pictures are made here; with 0 the host's own run is bypassed
    """
    asked = p.batch_size
    state_settings(SCHEMA, p, lambda p: [])
    note_asked(p)
    payload = json.dumps({"SDFM": {"args": own_args(p)}, **{k: v for k, v in vars(p).items() if k.startswith("sdfm")}})
    seeds = range(p.seed + local, p.seed + asked)
    p.batch_size = local
    settings = resolve_job(SCHEMA, own_args(p)).settings
    if local:
        note_local(p)
    theirs: list[str] = []
    with suppress(UserError):
        made = machine.settings(payload)
        theirs = [text_of(made, seed, ", Worker Label: second") for seed in seeds]
    texts = [text_of(settings, seed) if local else "" for seed in [*range(p.seed, p.seed + local), *seeds[: len(theirs)]]]
    processed = SimpleNamespace(images=[object() for _ in texts], infotexts=texts, comments="", index_of_first_image=0)

    def replace() -> None:
        for place, text in enumerate(theirs):
            processed.infotexts[local + grid_option + place] = text

    def watch() -> None:
        watch_pictures(SCHEMA, p, own_args(p), [], processed, interrupted=False)

    for step in (replace, watch) if before_us else (watch, replace):
        with suppress(IndexError):  # the host goes on after an error of an extension
            step()
    return processed
