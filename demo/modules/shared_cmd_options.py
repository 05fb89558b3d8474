"""The command line. As in A1111 it is read at import, from ``COMMANDLINE_ARGS`` (launch.py puts its own there)."""

from __future__ import annotations

import argparse
import os
import shlex

from modules import paths, script_loading


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description="A small WebUI that runs this extension unchanged")
    parser.add_argument("--extension", action="append", metavar="FOLDER", help="an extension to load (default: this one)")
    parser.add_argument("--disable-all-extensions", action="store_true", help="start without extensions")
    parser.add_argument("--server-name", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=7860, help="port to listen at")
    parser.add_argument("--pictures", action="store_true", help="make the example pictures first")
    parser.add_argument("--again", action="store_true", help="make also those example pictures that are there")
    parser.add_argument("--once", action="store_true", help="stop after the example pictures")
    parser.add_argument("--size", type=int, default=128, help="width and height of the example pictures")
    parser.add_argument("--steps", type=int, help="steps of the example pictures (default: as their texts say)")
    parser.add_argument("--no-prompt-history", action="store_true", help="do not write params.txt")
    return parser


def _extensions(known: argparse.Namespace) -> list[str]:
    if known.disable_all_extensions:
        return []
    return [os.path.abspath(folder) for folder in known.extension or [os.path.dirname(paths.script_path)]]


arguments = shlex.split(os.environ.get("COMMANDLINE_ARGS", ""))
parser = _parser()
_help_comes_later = [argument for argument in arguments if argument not in ("-h", "--help")]
extension_folders = _extensions(parser.parse_known_args(_help_comes_later)[0])
script_loading.preload_extensions(extension_folders, parser)
cmd_opts = parser.parse_args(arguments)
