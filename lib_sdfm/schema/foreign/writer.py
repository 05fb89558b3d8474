"""The program that wrote a text, and its version: decided by the keys ``Version`` and ``App``, else by a program's own keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

A1111, FORGE, REFORGE, NEO, CLASSIC = "A1111", "Forge", "reForge", "Forge Neo", "Forge Classic"
SDNEXT, COMFYUI = "SD.Next", "ComfyUI"
VERSION, APP, OURS = "Version", "App", "SDFM"

VERSIONS = (
    (re.compile(r"neo[- ]?(?P<version>[\w.]*)", re.I), NEO),
    (re.compile(r"classic[- ]?(?P<version>[\w.]*)", re.I), CLASSIC),
    (re.compile(r"f(?P<version>\d+(?:\.\d+)+)v2-.*", re.I), REFORGE),
    (re.compile(r"f(?P<version>\d+(?:\.\d+)+).*", re.I), FORGE),
    (re.compile(r"v?(?P<version>\d+(?:\.\d+)+(?:-RC)?)(?:-\d+-g[0-9a-f]+)?", re.I), A1111),
    (re.compile(r"comfy ?ui(?P<version>.*)", re.I), COMFYUI),
)
"""Forms of ``Version``: of Forge Neo, Forge Classic, reForge (``f1.0.0v2-v1.10.1RC-...``), Forge (``f2.0.1v1.10.1-...``,
``f0.0.17v1.8.0rc-...``), A1111 (``v1.10.1``, ``1.6.0``, ``v1.9.4-169-gdf4da02b``), and of ComfyUI's image savers."""
OWN_KEYS = (
    (re.compile(r"advanced_sampling_|dynthres_simple_mode|apgisyourcfg_|mahiro_cfg_|rescale_cfg_"), REFORGE),
    (re.compile(r"MaHiRo|eps_scaling_factor|Hires Shift"), NEO),
    (re.compile(r"pagi_|PerturbedAttentionGuidance_|freeu_b1|kohya_hrfix_"), FORGE),
    (re.compile(r"Civitai (resources|metadata)"), COMFYUI),
)
"""Keys that one program alone writes."""
EXTENSIONS = (
    (re.compile(r"SDFM$"), "SDFM"),
    (re.compile(r"(PAG|SEG|SCFG|INCANT|T2I-0|ICG|TCG|APG) Active$|CFG Interval Enable$"), "incantations"),
    (re.compile(r"FreeU (Stages|Schedule|Version)$"), "sd-webui-freeu"),
    (re.compile(r"Dynamic thresholding enabled$"), "sd-dynamic-thresholding"),
    (re.compile(r"(pag|seg|swg|nag|tpg)_enabled$"), "sd-perturbed-attention"),
    (re.compile(r"(APG Eta|NAG Scale|tcfg|cfgzero)$"), "seti9585's"),
)
"""Keys of extensions, which SDFM reads."""


@dataclass(frozen=True)
class Writer:
    """The program that wrote a text.

    :param name: its name; empty if the text doesn't say
    :param version: its version; empty if the text doesn't say
    :param extensions: extensions whose keys the text has
    """

    name: str = ""
    version: str = ""
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


def writer_of(pairs: Mapping[str, Any]) -> Writer:
    """Return who wrote the parsed generation parameters."""
    extensions = tuple(name for pattern, name in EXTENSIONS if any(pattern.match(key) for key in pairs))
    if OURS in pairs:  # SDFM writes the originals' keys itself
        extensions = tuple(name for name in extensions if name in ("SDFM", "sd-perturbed-attention"))
    return Writer(*_program(pairs), extensions)


def _program(pairs: Mapping[str, Any]) -> tuple[str, str]:
    version, app = str(pairs.get(VERSION, "")).strip(), str(pairs.get(APP, "")).strip()
    if app:
        return app, version
    for pattern, name in VERSIONS:
        match = pattern.fullmatch(version)
        if match is not None:
            return name, match["version"].strip(" -")
    if version:
        return version, ""
    return next((name for pattern, name in OWN_KEYS if any(pattern.match(key) for key in pairs)), ""), ""
