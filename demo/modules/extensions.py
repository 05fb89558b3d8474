"""The extensions and their files."""

from __future__ import annotations

import os
from collections import namedtuple

from modules import shared_cmd_options

ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])


class Extension:
    """One extension's folder, by whose name it goes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.basename(path)
        self.enabled = True

    def list_files(self, folder: str, extension: str) -> list[ScriptFile]:
        """Its files of one kind, by name."""
        where = os.path.join(self.path, folder)
        names = sorted(os.listdir(where)) if os.path.isdir(where) else []
        files = [ScriptFile(self.path, name, os.path.join(where, name)) for name in names]
        return [file for file in files if os.path.splitext(file.filename)[1].lower() == extension]


extensions: list[Extension] = [Extension(folder) for folder in shared_cmd_options.extension_folders]


def active() -> list[Extension]:
    """The enabled ones, by folder name, which is A1111's order."""
    return sorted((item for item in extensions if item.enabled), key=lambda item: item.name)
