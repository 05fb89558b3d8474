"""The table of a UNet's counted operations that the panel tells the time of a job by, ``lib_sdfm/planning/unet_cost.json``.

``python -m bench.speed.cost_table [--write]`` counts it anew, on torch's meta device, and prints or writes it. For each class
of models it has the latents' sizes, and for each size the operations of one row: of the whole UNet (``input``), from the middle
block to the end, from each decoder block to the end, and what NAG adds. Operations are a polynomial of second order in the
number of the latent's pixels (convolutions and projections linear, self-attention quadratic, the text's projections
constant), so that three sizes tell all others.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.speed.unet_cost import COND_ROWS, DEVICE, nag_flops
from bench.speed.unets import SHAPES, Denoiser, Shape, inputs, make_unet
from lib_sdfm.sampling.layers import transformer_layers

TABLE = Path(__file__).parents[2] / "lib_sdfm" / "planning" / "unet_cost.json"
CLASSES = {"SD1.5": SHAPES["sd15-512"], "SDXL": SHAPES["sdxl-1024"]}
SIDES = (64, 96, 128)
"""Sides of the square latents that are counted: 512, 768 and 1024 pixels."""


@torch.no_grad()
def counted(shape: Shape) -> dict[str, int]:
    """Return the operations of one row from each place of the UNet to its end."""
    unet = make_unet(shape, DEVICE)
    counter, before = FlopCounterMode(display=False), {}

    def note(name: str, module: nn.Module, args: tuple) -> None:
        before[name] = counter.get_total_flops()

    for name, block in _places(unet).items():
        block.register_forward_pre_hook(functools.partial(note, name))
    given = inputs(shape, COND_ROWS, DEVICE)
    model = Denoiser(unet, max(shape.depths.values()))
    with counter:
        model(given.pop("x"), given.pop("time"), **given)
    total = counter.get_total_flops()
    return {**{name: total - spent for name, spent in before.items()}, "input": total}


def _places(unet: nn.Module) -> dict[str, nn.Module]:
    output = {f"output.{number}": block for number, block in enumerate(unet.output_blocks)}
    return {"input": unet.input_blocks[0], "middle": unet.middle_block, **output}


def blocks_of(shape: Shape) -> dict[str, int]:
    """Return the number of transformer blocks of each of the UNet's blocks that has any."""
    found: dict[str, int] = {}
    for layer in transformer_layers(make_unet(shape, DEVICE)):
        name = layer.name.rpartition(".")[0]
        found[name] = found.get(name, 0) + 1
    return found


def table() -> dict[str, dict]:
    """Return the whole table."""
    found = {}
    for name, shape in CLASSES.items():
        sized = [dataclasses.replace(shape, side=side) for side in SIDES]
        sizes = [{**(of := counted(one)), "nag": nag_flops(one) - of["input"]} for one in sized]
        operations = {place: [size[place] for size in sizes] for place in sizes[0]}
        found[name] = {"pixels": [side * side for side in SIDES], "operations": operations, "blocks": blocks_of(shape)}
    return found


def text_of(found: dict[str, dict]) -> str:
    """Return the table's text, with a list on one line."""
    lines = []
    for name, of in found.items():
        operations = ",\n".join(f'      "{place}": {json.dumps(values)}' for place, values in of["operations"].items())
        own = f'    "pixels": {json.dumps(of["pixels"])},\n    "blocks": {json.dumps(of["blocks"])},\n'
        lines.append(f'  "{name}": {{\n{own}    "operations": {{\n{operations}\n    }}\n  }}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Prints the table, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name} instead of printing it")
    text = text_of(table())
    if parser.parse_args().write:
        TABLE.write_text(text, encoding="utf8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
