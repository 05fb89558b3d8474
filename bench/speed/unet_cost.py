"""Floating-point operations of a denoiser step, batch 1, counted from the calls of real modules on torch's meta device.

``python -m bench.speed.unet_cost [--json]``. ``cfg`` is plain CFG (a cond and an uncond row); ``cfg_pag`` with PAG in the
middle block as SDFM computes it, ``cfg_pag_full`` with a whole extra row (Forge, ComfyUI), ``cfg_pag_doubled`` with two
(incantations), ``cfg_pag_seg`` with PAG and SEG; ``cond_nag`` is a cond row alone, with NAG. ``decoder_calls_cfg`` and
``decoder_calls_cfg_pag`` count the calls of the decoder's modules in a step, without and with PAG.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from bench.speed.unets import SHAPES, Denoiser, Shape, inputs, make_unet
from lib_sdfm.hosts.a1111.attention import PerturbedAttention
from lib_sdfm.hosts.a1111.recorded_calls import CallRecorder
from lib_sdfm.hosts.a1111.tail import a1111_tail
from lib_sdfm.hosts.cross_attention import CrossAttention, TextHost
from lib_sdfm.hosts.run import Together
from lib_sdfm.hosts.unet_layers import UnetLayers
from lib_sdfm.ops.blur import mean_tokens
from lib_sdfm.ops.nag import normalized_guidance
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.stages import Perturbation

Changes = dict[str, Perturbation]

DEVICE = "meta"
COND_ROWS, ROWS = 1, 2
PAG = Perturbation(parse_layers("middle"), identity=True)
SEG = Perturbation(parse_layers("middle"), query=lambda queries, grid: mean_tokens(queries))
DECODER = Perturbation(parse_layers("u0"), identity=True)


@torch.no_grad()
def run_step(
    shape: Shape,
    changes: dict[str, Perturbation],
    share: bool = True,
    mode: AbstractContextManager | None = None,
    together: Together | None = None,
) -> int:
    """One denoiser step with extra predictions.

    :param changes: what changes in each
    :param share: they begin where the main prediction reaches the first perturbed attention
    :param mode: what watches the step
    :param together: decides if all rows of the tail run together
    :return: calls of the decoder's modules
    """
    unet = UnetLayers(make_unet(shape, DEVICE))
    model, recorder = Denoiser(unet.unet, max(shape.depths.values())), CallRecorder()
    recorder.follow(model)
    shared = (
        a1111_tail(unet, changes, edits_skips=False, cond_rows=COND_ROWS, together=together or Together()) if share else None
    )
    given = inputs(shape, ROWS, DEVICE)
    with mode or nullcontext(), counted_calls(unet.unet.output_blocks) as calls:
        if shared is not None:
            shared.attach()
        model(given.pop("x"), given.pop("time"), **given)
        if shared is not None:
            shared.detach()
            assert shared.possible(recorder.rows_of_calls())
            shared.predictions(lambda: recorder.replay(COND_ROWS))
        else:
            for change in changes.values():
                with PerturbedAttention(unet, change):
                    recorder.replay(COND_ROWS)
    return len(calls)


@contextmanager
def counted_calls(blocks: nn.ModuleList) -> Iterator[list[nn.Module]]:
    """Collect the modules of blocks as they are called; hooks on themselves would be a neighbour's."""
    wanted, called = set(blocks.modules()), []

    def note(module: nn.Module, args: tuple) -> None:
        if module in wanted:
            called.append(module)

    handle = register_module_forward_pre_hook(note)
    try:
        yield called
    finally:
        handle.remove()


def step_flops(shape: Shape, changes: Changes, share: bool = True) -> int:
    """Operations of a step, see :func:`run_step`."""
    counter = FlopCounterMode(display=False)
    run_step(shape, changes, share, counter)
    return counter.get_total_flops()


@torch.no_grad()
def nag_flops(shape: Shape) -> int:
    """Operations of a conditional row alone with NAG, keys and values of the negative prompt already made."""
    unet, negative = UnetLayers(make_unet(shape, DEVICE)), torch.zeros(shape.tokens, shape.context, device=DEVICE)
    model, cross = Denoiser(unet.unet, max(shape.depths.values())), CrossAttention(unet, "NAG", TextHost(None))
    for counter in (FlopCounterMode(display=False), FlopCounterMode(display=False)):
        cross.attach(lambda good, bad: normalized_guidance(good, bad, 2.0, 2.5, 0.5), [negative], lambda rows: [0] * rows)
        given = inputs(shape, COND_ROWS, DEVICE)
        with counter:
            model(given.pop("x"), given.pop("time"), **given)
        cross.detach()
    return counter.get_total_flops()


def costs(shape: Shape) -> dict[str, int]:
    """Operations of one step by what is computed, and calls of the decoder's modules."""
    cfg = step_flops(shape, {})
    full = step_flops(shape, {"pag": PAG}, share=False)
    return {
        "cfg": cfg,
        "cfg_pag": step_flops(shape, {"pag": PAG}),
        "cfg_pag_decoder": step_flops(shape, {"pag": DECODER}),
        "cfg_pag_full": full,
        "cfg_pag_seg": step_flops(shape, {"pag": PAG, "seg": SEG}),
        "cfg_pag_doubled": full + (full - cfg),
        "cond_nag": nag_flops(shape),
        "decoder_calls_cfg": run_step(shape, {}),
        "decoder_calls_cfg_pag": run_step(shape, {"pag": PAG}),
    }


def main() -> None:
    """Prints operations, or a table of them in units of a cond row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object, operations by shape and step")
    found = {name: costs(shape) for name, shape in SHAPES.items()}
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    for name, of in found.items():
        row = of["cfg"] / ROWS
        print(f"{name}: a cond row takes {row / 1e12:.2f} TFLOP; passes per step")
        for what, number in of.items():
            print(f"  {what:21} {number if what.startswith('decoder_calls') else f'{number / row:.3f}'}")


if __name__ == "__main__":
    main()
