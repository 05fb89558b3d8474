"""How often the shapes models paint what the caption says: ``python -m bench.quality.adherence``.

Each row is a checkpoint and a kind of caption, each number a share with its 95% interval (Wilson). "kept" is the whole promise:
as many of each shape in its colour as said, nothing else, the background's colour; those of a kind of one size, and standing as
said.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.quality.judge import Verdict, judge
from tools import drawing, shapes
from tools.shapes import Scene
from tools.tiny_model import EPS, FLOW, MODELS, TinyModel, V, load
from tools.tiny_sampling import sample

KINDS: dict[str, Callable[[Scene], bool]] = {
    "single object": lambda scene: scene.total == 1,
    "several alike": lambda scene: scene.total > 1 and len(scene.groups) == 1 and not scene.arrangement,
    "in rows": lambda scene: scene.arrangement is not None and len(scene.groups) == 1,
    "two kinds": lambda scene: len(scene.groups) == 2 and not scene.arrangement,
    "mirrored, crosswise": lambda scene: scene.arrangement is not None and len(scene.groups) == 2,
}
ASPECTS = ("kept", "count", "shape", "colour", "background", "alike", "arranged", "size", "place")
OBJECTIVES = (EPS, FLOW, V)
Z = 1.959964
BATCH = 32


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share, `Wilson 1927 <https://doi.org/10.1080/01621459.1927.10502953>`_."""
    if count == 0:
        return 0.0, 1.0
    share, unit = hits / count, Z**2 / count
    middle, half = share + unit / 2, Z * math.sqrt(share * (1 - share) / count + unit / (4 * count))
    return max(0.0, (middle - half) / (1 + unit)), min(1.0, (middle + half) / (1 + unit))


def scenes_of(kind: str, count: int, seed: int) -> list[Scene]:
    """Captions of one kind, distributed as in training; the same for every checkpoint."""
    rng, found = np.random.default_rng([seed, 77]), []
    while len(found) < count:
        scene = shapes.random_scene(rng)
        if KINDS[kind](scene):
            found.append(scene)
    return found


def painted(model: TinyModel, scenes: list[Scene], seed: int, steps: int, cfg: float) -> Iterable[np.ndarray]:
    """One picture for each scene."""
    for i in range(0, len(scenes), BATCH):
        captions = [scene.words() for scene in scenes[i : i + BATCH]]
        yield from sample(model, captions, seed + i, steps, cfg).numpy()


def summarise(verdicts: list[Verdict]) -> dict[str, dict[str, Any]]:
    """Share, interval and number of each aspect; what no caption promised is missing."""
    summary = {}
    for aspect in ASPECTS:
        known = [bool(value) for value in (getattr(verdict, aspect) for verdict in verdicts) if value is not None]
        if known:
            low, high = wilson(sum(known), len(known))
            summary[aspect] = {"share": sum(known) / len(known), "low": low, "high": high, "count": len(known)}
    return summary


def measure(source: Callable[[list[Scene]], Iterable[np.ndarray]], count: int, seed: int) -> dict[str, Any]:
    """Summaries by kind of caption for a source of pictures."""
    result = {}
    for kind in KINDS:
        scenes = scenes_of(kind, count, seed)
        verdicts = [judge(picture, scene) for picture, scene in zip(source(scenes), scenes, strict=True)]
        result[kind] = {"summary": summarise(verdicts), "missed": _missed(scenes, verdicts)}
    return result


def _missed(scenes: list[Scene], verdicts: list[Verdict]) -> list[dict[str, Any]]:
    pairs = zip(scenes, verdicts, strict=True)
    return [{"caption": scene.words(), **asdict(verdict)} for scene, verdict in pairs if not verdict.kept]


def drawn(style: str, seed: int) -> Callable[[list[Scene]], Iterable[np.ndarray]]:
    """The drawer itself as the source: what the judge is worth."""
    rng = np.random.default_rng(seed)
    return lambda scenes: (drawing.draw(shapes.realise(scene, rng), style, rng) for scene in scenes)


def table(results: dict[str, Any]) -> str:
    """For reading."""
    lines = [f"{'':<14}{'':<20}" + "".join(f"{aspect:>19}" for aspect in ASPECTS)]
    for name, kinds in results.items():
        for kind, found in kinds.items():
            cells = (_cell(found["summary"].get(aspect)) for aspect in ASPECTS)
            lines.append(f"{name:<14}{kind:<20}" + "".join(f"{cell:>19}" for cell in cells))
    return "\n".join(lines)


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return "-"
    return "{:.1f}% [{:.0f}, {:.0f}]".format(*(100 * value[key] for key in ("share", "low", "high")))


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoints", nargs="*", type=Path, help="default: all in demo/models")
    parser.add_argument("--count", type=int, default=128, help="captions of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--taken-for", choices=OBJECTIVES, help="samples as if the checkpoints predicted this")
    parser.add_argument("--json", action="store_true", help="everything, with the captions that were missed")
    parser.add_argument("--drawn", action="store_true", help="judges the drawer's own pictures as well")
    return parser.parse_args(arguments)


def main() -> None:
    options = options_of()
    torch.set_num_threads(options.threads)
    results = {}
    if options.drawn:
        results.update({f"drawn {style}": measure(drawn(style, options.seed), options.count, options.seed)
                        for style in (drawing.PLAIN, drawing.INK)})  # fmt: skip
    for path in options.checkpoints or sorted(MODELS.glob("*.safetensors")):
        model = load(path)
        model.config["objective"] = options.taken_for or model.objective
        results[path.stem] = measure(
            lambda scenes, model=model: painted(model, scenes, options.seed, options.steps, options.cfg),
            options.count,
            options.seed,
        )
    print(json.dumps(results, indent=1) if options.json else table(results))


if __name__ == "__main__":
    main()
