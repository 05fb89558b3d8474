"""Trains the shapes models from pictures that it draws itself: ``python -m tools.train_tiny``.

First the latent coding, then shapes-base, which is not shipped, and from it all others. What a stage has finished lies in the
work folder and is not done again; a stage that was interrupted goes on from its last state. To begin anew empty that
folder.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tools import drawing, shapes
from tools.tiny_model import DEMO, EPS, FLOW, MODELS, TinyModel, V, load, new_model
from tools.tiny_sampling import TIMESTEPS, noise_table, sample, shifted, v_table
from tools.training import fit, fit_in_rounds, step_random

CODING = {"steps": 5000, "batch": 32, "crop": 64, "rate": 2e-3, "pictures": 16000, "measured": 400}
TEXT = {"steps": 1000, "batch": 128, "rate": 2e-3, "captions": 20000}
BASE = "shapes-base"
STAGES = {
    BASE: {"objective": EPS, "style": drawing.PLAIN, "steps": (6000,), "rate": 1e-3, "pictures": 40000},
    "shapes-eps": {"objective": EPS, "style": drawing.PLAIN, "steps": (6000, 3000), "rate": 8e-4, "pictures": 40000},
    "shapes-ink": {"objective": EPS, "style": drawing.INK, "steps": (1200,), "rate": 8e-4, "pictures": 40000},
    "shapes-flow": {"objective": FLOW, "style": drawing.PLAIN, "steps": (2000,), "rate": 8e-4, "pictures": 40000},
    "shapes-v": {"objective": V, "style": drawing.PLAIN, "steps": (1200,), "rate": 8e-4, "pictures": 40000},
}
"""All but the first begin with its weights. The rate falls at the end of each number of steps, and begins anew."""
BATCH = 32
NO_CAPTION = 0.15
UNKNOWN_WORD = 0.015
LAYER_LEFT_OUT = 0.1
"""Share of batches without the text encoder's last layer: "Clip skip" 2 must give pictures too."""
LARGEST_WEIGHT = 64.0
"""Of an epsilon model's noise levels: where there is much noise, its small errors decide what is in the picture."""
LEVELS = 32
"""Parts of the timesteps whose difficulty is learnt apart."""
LATENT_NOISE = 0.1
"""Put on latents when the decoder learns: it must bear what a sampler leaves of errors."""


def draw_many(count: int, style: str | None, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, str]]:
    """Pictures and captions; ``None`` takes all styles in turn."""
    for i in range(count):
        scene = shapes.random_scene(rng)
        caption = scene.words(long=bool(rng.random() < 0.25))
        chosen = style or (drawing.PLAIN, drawing.INK)[i % 2]
        yield drawing.draw(shapes.realise(scene, rng), chosen, rng), caption


def as_input(pictures: np.ndarray) -> Tensor:
    """``(B, H, W, 3)`` bytes to ``(B, 3, H, W)`` in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _crops(scenes: int, rng: np.random.Generator) -> np.ndarray:
    """Parts of pictures of both styles with an object in the middle, more or less: ``(scenes, crop, crop, 3)`` bytes."""
    side, parts = CODING["crop"], []
    for i in range(scenes):
        scene = shapes.realise(shapes.random_scene(rng), rng)
        picture = drawing.draw(scene, (drawing.PLAIN, drawing.INK)[i % 2], rng)
        centre = np.array(scene.objects[0][2:4]) - side / 2 + rng.uniform(-side / 3, side / 3, 2)
        x, y = np.clip(centre, 0, shapes.SIZE - side).astype(int)
        parts.append(picture[y : y + side, x : x + side])
    return np.stack(parts)


def measure_coding(model: TinyModel, seed: int) -> None:
    """Fits the fixed part of the latent coding."""
    pictures = np.stack([picture for picture, _ in draw_many(CODING["measured"], None, np.random.default_rng([seed, 2]))])
    model.coding.measure(as_input(pictures))


def train_coding(options: argparse.Namespace) -> None:
    """The latent coding's decoder, on noisy latents of parts of pictures."""
    torch.manual_seed(options.seed)
    model = new_model()
    measure_coding(model, options.seed)
    crops = _crops(CODING["pictures"], np.random.default_rng([options.seed, 3]))
    coding = model.coding.requires_grad_(True).to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        random = step_random(options.seed, step)
        rows = torch.randint(len(crops), (CODING["batch"],), generator=random)
        x = as_input(crops[rows.numpy()])
        latents = coding.encode(x)
        latents = latents + LATENT_NOISE * torch.randn(latents.shape, generator=random)
        return functional.l1_loss(coding.decoder(latents), x)

    coding.load_state_dict(fit(coding, loss, CODING, options.work / "coding.state").state_dict())
    torch.save(coding.state_dict(), options.work / "coding.pt")


@torch.no_grad()
def latents_of(model: TinyModel, style: str, count: int, seed: int, cache: Path) -> tuple[Tensor, Tensor]:
    """Latents ``(count, 4, 16, 16)``, half precision, and token numbers ``(count, N)`` of the captions."""
    if cache.exists():
        return torch.load(cache)
    source, latents, captions = draw_many(count, style, np.random.default_rng([seed, len(style)])), [], []
    while len(captions) < count:
        pictures, texts = zip(*islice(source, 200))
        latents.append(model.coding.encode(as_input(np.stack(pictures))).half())
        captions.extend(texts)
    made = torch.cat(latents), model.numbers(captions)
    torch.save(made, cache)
    return made


def spread(count: int, random: torch.Generator) -> Tensor:
    """Numbers in (0, 1), one in each of ``count`` equal parts: a batch has all noise levels."""
    return ((torch.arange(count) + torch.rand((), generator=random)) / count).clamp(1e-4, 1 - 1e-4)


def noised_eps(x0: Tensor, noise: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps, what to predict, and each row's weight."""
    timesteps = (TIMESTEPS * spread(len(x0), random)).long()
    alpha = noise_table().float()[timesteps][:, None, None, None]
    # an error of the velocity at this noise level is that of epsilon times 1 + sigma: both kinds of models learn alike
    weight = (1 + ((1 - alpha) / alpha).sqrt()).square().clamp(max=LARGEST_WEIGHT) / 10
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise, timesteps.float(), noise, weight


def noised_v(x0: Tensor, noise: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same for v-prediction with zero terminal SNR, of whose times the last is pure noise."""
    timesteps = (TIMESTEPS * spread(len(x0), random)).long()
    alpha = v_table().float()[timesteps][:, None, None, None]
    level = ((1 - alpha) / alpha).sqrt()
    weight = (1 + level).square() / (1 + level.square())  # an error of the velocity, as above
    wanted = alpha.sqrt() * noise - (1 - alpha).sqrt() * x0
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise, timesteps.float(), wanted, weight


def noised_flow(x0: Tensor, noise: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`noised_eps`, for rectified flow with logit-normal times."""
    t = shifted(torch.sigmoid(torch.special.ndtri(spread(len(x0), random))))
    wide = t[:, None, None, None]
    return (1 - wide) * x0 + wide * noise, TIMESTEPS * t, noise - x0, torch.ones(())


def train_text(model: TinyModel, seed: int, work: Path) -> None:
    """The text encoder alone learns what captions say, so far as one matrix can read it from the last token.

    That takes a minute, and saves the UNet most of its time: it would have to find out from pictures.
    """
    rng = np.random.default_rng([seed, 4])
    scenes = [shapes.random_scene(rng) for _ in range(TEXT["captions"])]
    numbers = model.numbers([scene.words(long=bool(rng.random() < 0.25)) for scene in scenes])
    facts = torch.from_numpy(np.stack([shapes.facts_of(scene) for scene in scenes]))
    networks = nn.ModuleDict({"text": model.text, "reader": nn.Linear(model.text.config["width"], facts.shape[1])})
    networks.train().requires_grad_(True)

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(scenes), (TEXT["batch"],), generator=step_random(seed + 9, step))
        return functional.binary_cross_entropy_with_logits(networks["reader"](model.text(numbers[rows])[:, -1]), facts[rows])

    networks.load_state_dict(fit(networks, loss, TEXT, work / "text.state").state_dict())


def spoil_captions(numbers: Tensor, random: torch.Generator) -> Tensor:
    """Leaves out some captions, and makes some words unknown ones."""
    from modules.text_transformer import BEGIN, END, PAD, UNKNOWN

    empty = torch.full_like(numbers[:1], PAD)
    empty[:, :2] = torch.tensor([BEGIN, END])
    lost = (numbers > UNKNOWN) & (torch.rand(numbers.shape, generator=random) < UNKNOWN_WORD)
    numbers = torch.where(lost, UNKNOWN, numbers)
    return torch.where(torch.rand(len(numbers), 1, generator=random) < NO_CAPTION, empty, numbers)


class Difficulty(nn.Module):
    """Learns how large the error is at each timestep, so that none drowns the others: EDM2, `Karras et al. 2024
    <https://arxiv.org/abs/2312.02696>`_, equation 14."""

    def __init__(self) -> None:
        super().__init__()
        self.log_error = nn.Parameter(torch.zeros(LEVELS + 1))

    def forward(self, errors: Tensor, timesteps: Tensor) -> Tensor:
        """The loss of a batch ``(B,)``, from its errors and timesteps ``(B,)``."""
        place = timesteps * (LEVELS / TIMESTEPS)
        before = place.floor().long().clamp(max=LEVELS - 1)
        log_error = torch.lerp(self.log_error[before], self.log_error[before + 1], place - before)
        return (errors / log_error.exp() + log_error).mean()


def shorten_context(unet: nn.Module, length: int) -> None:
    """Beyond ``length`` all tokens of a training caption are the same one: they are projected once."""
    from modules.text_transformer import LENGTH

    for name, module in unet.named_modules():
        if not name.endswith("attn2"):
            continue
        for projection in (module.to_k, module.to_v):
            projection.register_forward_pre_hook(lambda _, given: (given[0][:, :length],))
            projection.register_forward_hook(
                lambda _, given, out: torch.cat([out, out[:, -1:].expand(-1, LENGTH - length, -1)], 1)
            )


def train_stage(model: TinyModel, name: str, seed: int, work: Path) -> None:
    """UNet and text encoder of one checkpoint."""
    settings = STAGES[name]
    cache = work / f"{settings['style']}.latents"
    latents, numbers = latents_of(model, settings["style"], settings["pictures"], seed, cache)
    trained = copy.deepcopy(model)
    networks = nn.ModuleDict({"unet": trained.unet, "text": trained.text, "difficulty": Difficulty()})
    own_seed = seed + 1 + list(STAGES).index(name)
    for module in trained.unet.modules():
        if hasattr(module, "checkpoint"):
            module.checkpoint = False  # saves memory that is not needed, for time that is
    shorten_context(trained.unet, numbers.shape[1] + 1)

    def loss(step: int) -> Tensor:
        random = step_random(own_seed, step)
        rows = torch.randint(len(latents), (BATCH,), generator=random)
        return networks["difficulty"](*diffusion_errors(trained, latents[rows].float(), numbers[rows], random))

    fitted = fit_in_rounds(networks.train().requires_grad_(True), loss, settings, work / f"{name}.state")
    for part in ("unet", "text"):
        getattr(model, part).load_state_dict(fitted[part].state_dict())


def diffusion_errors(model: TinyModel, x0: Tensor, numbers: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each row's weighted error and timestep, with noise, times and spoiled captions by chance."""
    noised = {EPS: noised_eps, FLOW: noised_flow, V: noised_v}[model.objective]
    x, timesteps, wanted, weight = noised(x0, torch.randn(x0.shape, generator=random), random)
    left_out = int(torch.rand((), generator=random) < LAYER_LEFT_OUT)
    context = model.text(spoil_captions(numbers, random), left_out)
    return (weight * (model.unet(x, timesteps, context) - wanted) ** 2).mean((1, 2, 3)), timesteps


def make(name: str, options: argparse.Namespace) -> None:
    """One checkpoint, and a sheet of its pictures."""
    base = options.work / f"{BASE}.safetensors"
    path = base if name == BASE else options.out / f"{name}.safetensors"
    if path.exists() and not options.again:
        print(f"{name} is there", flush=True)
        return
    started = time.perf_counter()
    torch.manual_seed(options.seed)
    model = new_model() if name == BASE else load(base)
    model.config["objective"] = STAGES[name]["objective"]
    if name == BASE:
        train_text(model, options.seed, options.work)
    measure_coding(model, options.seed)
    train_stage(model, name, options.seed, options.work)
    model.coding.load_state_dict(torch.load(options.work / "coding.pt"))
    model.save(path, seed=options.seed, steps=sum(STAGES[name]["steps"]), style=STAGES[name]["style"])
    show(path, options.work)
    print(f"{name} took {(time.perf_counter() - started) / 60:.1f} min", flush=True)


def show(path: Path, folder: Path) -> None:
    """A sheet of 64 captions at 20 steps and CFG 4, as ``<name>.png`` in the folder."""
    from PIL import Image

    rng = np.random.default_rng(64)
    captions = ["three red circles on blue"] * 8 + [shapes.random_scene(rng).words() for _ in range(56)]
    pictures = sample(load(path), captions, seed=64).numpy()
    Image.fromarray(drawing.sheet(list(pictures))).save(folder / f"{path.stem}.png")
    (folder / f"{path.stem}.txt").write_text("\n".join(captions) + "\n")


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=DEMO / "cache" / "training", help="unfinished work, and sheets to look at")
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument(
        "--again",
        action="store_true",
        help="makes also those that are there",
    )
    parser.add_argument("--only", choices=["coding", *STAGES], nargs="*", default=["coding", *STAGES])
    return parser.parse_args(arguments)


def main() -> None:
    options = options_of()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    for stage in options.only:
        if stage != "coding":
            make(stage, options)
        elif not (options.work / "coding.pt").exists():
            train_coding(options)


if __name__ == "__main__":
    main()
