"""Memory at the peak of a denoiser step, batch 1, float32, counted from the tensors that real modules make on torch's meta
device: ``python -m bench.speed.memory_cost [--json]``.

``extra_pag`` is what PAG adds to the peak of plain CFG, ``extra_pag_apart`` with the perturbed row apart from the host's,
``skips`` the size of one row's skip tensors, in bytes.
"""

from __future__ import annotations

import argparse
import json
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.speed.unet_cost import DEVICE, PAG, SEG, run_step
from bench.speed.unets import SHAPES, Shape, inputs, make_unet
from lib_sdfm.hosts.run import Together
from lib_sdfm.sampling.stages import Perturbation


class PeakMemory(TorchDispatchMode):
    """Follows the storages of all tensors that operations make, as long as a tensor uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf)
        self.peak = max(self.peak, self._live)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._users:
            self._users[key] = 0
            self._live += size
        self._users[key] += 1
        weakref.finalize(tensor, self._leave, key, size)

    def _leave(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self._live -= size


def peak_bytes(shape: Shape, changes: dict[str, Perturbation], together: Together | None = None) -> int:
    """Return the largest sum of the tensors that live at once in a step."""
    memory = PeakMemory()
    run_step(shape, changes, mode=memory, together=together)
    return memory.peak


@torch.no_grad()
def skip_bytes(shape: Shape) -> int:
    """Size of one row's skip tensors."""
    unet, sizes = make_unet(shape, DEVICE), []
    for block in unet.input_blocks:
        block.register_forward_hook(lambda module, args, output: sizes.append(output.nbytes))
    given = inputs(shape, 1, DEVICE)
    unet(given["x"], given["time"], context=[given["text"]] * max(shape.depths.values()), y=given["extra"])
    return sum(sizes)


def memory(shape: Shape) -> dict[str, int]:
    """Peaks and what they are compared with, in bytes."""
    plain = peak_bytes(shape, {})
    return {
        "cfg": plain,
        "extra_pag": peak_bytes(shape, {"pag": PAG}) - plain,
        "extra_pag_apart": peak_bytes(shape, {"pag": PAG}, Together(0)) - plain,
        "extra_pag_seg": peak_bytes(shape, {"pag": PAG, "seg": SEG}) - plain,
        "skips": skip_bytes(shape),
    }


def main() -> None:
    """Prints bytes, or a table in megabytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object, bytes by shape")
    found = {name: memory(shape) for name, shape in SHAPES.items()}
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    for name, of in found.items():
        print(name, *(f"{what} {size / 2**20:.1f} MiB" for what, size in of.items()), sep="\n  ")


if __name__ == "__main__":
    main()
