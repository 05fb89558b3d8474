"""From a setting to what is known of its pictures: whether each keeps its promise, and its features."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from bench.quality.demo_host import DemoHost
from bench.quality.features import features
from bench.quality.judge import is_of_world, judge, look, parts_agree
from bench.quality.settings import BY_NUMBER, NOTHING, SWITCH_AT, SYNCED, UNWANTED, Setting
from tools import shapes
from tools.shapes import Scene
from tools.tiny_model import DEMO, MODELS

BATCH = 32
SHOWN = 8
"""Pictures of each setting that are kept for the sheets: the first ones."""
WORK = DEMO / "cache" / "quality"
ROOT = DEMO.parent
SOURCES = ("lib_sdfm/**/*.py", "sdfm_webui/*.py", "demo/modules/**/*.py", "bench/quality/judge.py", "bench/quality/features.py",
           "tools/shapes.py", "tools/drawing.py")  # fmt: skip
"""Files that decide a row besides checkpoints: while none of them changes, rows are kept."""


@dataclass(frozen=True)
class Measured:
    """One setting's pictures.

    :param kept: whether each keeps its promise
    :param agreeing: whether the parts of each agree with each other, whatever was promised
    :param features: of each, ``(n, d)``
    :param shown: the first pictures
    :param calls: of the model for each
    """

    kept: np.ndarray
    agreeing: np.ndarray
    features: np.ndarray
    shown: np.ndarray
    calls: int


def scenes_of(count: int, seed: int) -> list[Scene]:
    """One promise for each picture, as in training; fewer are the first of more."""
    rng = np.random.default_rng([seed, 12])
    return [shapes.random_scene(rng) for _ in range(count)]


def recoloured(scene: Scene, number: int) -> Scene:
    """The same with other colours of its objects, none of which occurs in it; its words are as many.

    A colour that is unsaid stays so.
    """
    taken = {scene.background, *(group.colour for group in scene.groups)}
    free = [colour for colour in shapes.COLOURS if colour not in taken]
    turned = free[number % len(free) :] + free[: number % len(free)]
    groups = (replace(group, colour=group.colour and colour) for group, colour in zip(scene.groups, turned))
    return replace(scene, groups=tuple(groups))


def prompt_of(setting: Setting, scene: Scene, number: int) -> str:
    """Return the prompt for a promise."""
    if setting.prompts == NOTHING:
        return ""
    if setting.prompts == UNWANTED:
        return replace(scene, background=None).words()
    if setting.prompts not in (SYNCED, BY_NUMBER):
        return scene.words()
    switch = "refiner" if setting.prompts == SYNCED else SWITCH_AT
    return f"[{recoloured(scene, number).words()}:{scene.words()}:{switch}]"


def unwanted(scene: Scene, number: int) -> str:
    """A background that the scene's objects would be seen on."""
    free = [colour for colour in shapes.COLOURS if colour not in {group.colour for group in scene.groups}]
    return free[number % len(free)]


def negative_of(setting: Setting, scene: Scene, number: int) -> str:
    """Return the negative prompt: nothing, or the caption with the unwanted background."""
    return replace(scene, background=unwanted(scene, number)).words() if setting.prompts == UNWANTED else ""


def keeps(setting: Setting, picture: np.ndarray, scene: Scene, number: int) -> bool:
    """True if a picture has all that was asked for."""
    if setting.prompts == NOTHING:
        return is_of_world(look(picture))
    if setting.prompts != UNWANTED:
        return judge(picture, scene).kept
    kept = judge(picture, replace(scene, background=None)).kept
    return kept and look(picture).background not in (None, unwanted(scene, number))


def batches_of(setting: Setting, count: int) -> list[range]:
    """Numbers of a setting's pictures; those of fewer are the first of those of more."""
    total = count // setting.part
    return [range(start, min(start + BATCH, total)) for start in range(0, total, BATCH)]


def measure(host: DemoHost, setting: Setting, numbers: range, seed: int) -> Measured:
    """Makes one batch of pictures, and looks at them.

    :raises RuntimeError: if the model was called more often than the setting allows
    """
    scenes = scenes_of(numbers.stop, seed)[numbers.start :]
    numbered = list(zip(scenes, numbers, strict=True))
    request = {**setting.request(), "negative_prompt": [negative_of(setting, *pair) for pair in numbered]}
    prompts = [prompt_of(setting, *pair) for pair in numbered]
    painted = host.paint(request, prompts, [1_000_000 * seed + number for number in numbers])
    if setting.calls is not None and not setting.calls - 1 <= painted.calls <= setting.calls:
        raise RuntimeError(f"{setting.name}: the model was called {painted.calls} times")
    kept = [keeps(setting, picture, *pair) for picture, pair in zip(painted.pictures, numbered, strict=True)]
    agreeing = [parts_agree(look(picture).objects) for picture in painted.pictures]
    return Measured(np.array(kept), np.array(agreeing), features(painted.pictures), painted.pictures[:SHOWN], painted.calls)


def joined(batches: list[Measured]) -> Measured:
    """A setting's batches as one row; calls are the largest number."""
    names = ("kept", "agreeing", "features")
    parts = (np.concatenate([getattr(batch, name) for batch in batches]) for name in names)
    return Measured(*parts, batches[0].shown, max(batch.calls for batch in batches))


def fingerprint() -> str:
    """Of the code that decides a row."""
    return _digest(path for pattern in SOURCES for path in sorted(ROOT.glob(pattern)))


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()


@cache
def _checkpoint(name: str) -> str:
    return _digest([MODELS / f"{name}.safetensors"])


class Work:
    """Batches that are finished.

    :param state: what they depend on, see :func:`fingerprint`
    """

    def __init__(self, folder: Path, state: str, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._of_all = folder, (state, seed)

    def path(self, setting: Setting, numbers: range) -> Path:
        """Where a batch is kept."""
        checkpoints = [_checkpoint(name) for name in setting.checkpoints()]
        of_batch = [numbers.start, numbers.stop, setting.prompts, setting.request()]
        described = json.dumps([*self._of_all, checkpoints, *of_batch])
        return self._folder / f"{hashlib.sha256(described.encode()).hexdigest()[:24]}.npz"

    def load(self, setting: Setting, numbers: range) -> Measured:
        """A batch that is finished."""
        with np.load(self.path(setting, numbers)) as found:
            return Measured(*(found[name] for name in ("kept", "agreeing", "features", "shown")), int(found["calls"]))

    def save(self, setting: Setting, numbers: range, batch: Measured) -> None:
        """Keeps a batch; it is there as a whole or not at all."""
        partial = self.path(setting, numbers).with_suffix(f".partial{os.getpid()}")
        with open(partial, "wb") as file:
            np.savez(file, **vars(batch))
        os.replace(partial, self.path(setting, numbers))
