"""A run: one call of ``p.sample``, attached to the sampler of each of its passes, on either host.

An adapter restores all that it changed when the pass ends, also after an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..sampling.plan import Plan
from .attributes import InstanceAttribute, undo_all
from .unet_layers import Changes

LOG = logging.getLogger("sdfm")
RUN = "sdfm_run"
"""Attribute of the processing object that holds the run while it samples."""
TOLERANCE = 0.01
"""Difference of a repeated prediction to the first one that rounding may explain, relative to its norm."""


class Pass(Protocol):
    """One pass (base or hires) on one host: one sampler, one CFG denoiser. Attached from construction until :meth:`detach`.

    :param denoiser: the CFG denoiser that it is attached to
    :param problem: the exception raised where the host swallows exceptions
    """

    denoiser: Any
    problem: Exception | None

    def before_call(self, params: Any, run_call: int) -> None:
        """Prepare for one denoiser call, in the host's callback ``on_cfg_denoiser``, which swallows exceptions.

        :param params: the host's parameters of the callback
        :param run_call: denoiser calls of this run so far
        """

    def detach(self) -> None:
        """Restore everything; may be called again."""


NewPass = Callable[[Plan, Any], Pass]
"""Factory of passes on a host, from a plan and the host's processing object."""


class Together:
    """Decides for a run if the perturbed rows join the main ones in the tail, so that its modules run once.

    That is faster where kernel launches limit, and takes more memory. From three images on it gains little.

    :param images: most images that run together, 0: always apart
    """

    IMAGES = 2
    MEMORY = 5
    """Memory of a row in the tail, in units of its skip features (measured at SDXL 1024: 4.7)."""

    def __init__(self, images: int = IMAGES) -> None:
        self._images, self._is_short = images, False
        self._known: dict[tuple, bool] = {}

    def allows(self, images: int, rows: int, skips: Sequence[Tensor]) -> bool:
        """Return True if rows may be added to those of a call.

        :param images: images in the call
        :param rows: perturbed rows
        :param skips: the skip features of the call, ``(rows, C, H, W)`` each
        """
        if self._is_short or images > self._images:
            return False
        case = (*skips[0].shape, rows)
        if case not in self._known:
            needed = self.MEMORY * rows * sum(skip[0].nbytes for skip in skips)
            self._known[case] = needed < free_memory(skips[0].device)
        return self._known[case]

    def note_out_of_memory(self) -> None:
        """Run the rows apart from now on."""
        self._is_short = True
        LOG.warning("out of memory with PAG's and SEG's rows in one batch with CFG's: from now on they run one after another")


@dataclass
class Ways:
    """How the last runs made perturbed predictions, for the log and for ``explain``."""

    last: str = ""
    """The last whole pass: which predictions, and why; empty if there was none since the WebUI started."""

    def note(self, labels: str, names: Sequence[str]) -> None:
        """Log a whole pass.

        :param labels: the techniques that perturb
        :param names: who changes the UNet
        """
        self.last = f"{labels}: perturbed predictions take whole UNet passes, because {', '.join(names)} changes the UNet"
        LOG.warning("SDFM: %s", self.last)

    def report(self, unet: nn.Module | None) -> dict[str, Any]:
        """Return who has changed a UNet now, and what the last whole pass was.

        :param unet: the loaded checkpoint's, ``None`` if none is loaded
        """
        return {"changed_by": [] if unet is None else [*Changes(unet).names()], "last": self.last or None}


@dataclass
class WholePasses:
    """The whole perturbed predictions of one pass.

    :param ways: is told of them
    :param names: who changes the UNet in the current call, empty if nobody does
    """

    ways: Ways
    names: tuple[str, ...] = ()
    _labels: str = ""
    _random: RandomState | None = None
    _noted: tuple[str, ...] = ()
    _repeated: set[Any] = field(default_factory=set)

    def begin(self, names: tuple[str, ...], labels: Sequence[str], device: torch.device) -> None:
        """Note who changes the UNet as a call of the denoiser begins, before the model is called.

        :param labels: the techniques that perturb
        """
        self.names, self._labels = names, ", ".join(labels)
        if not names:
            return
        self._random = RandomState(device)
        if labels and names != self._noted:
            self.ways.note(self._labels, names)
            self._noted = names

    def shift(self, calls: Any, main: Tensor, again: Callable[[], Tensor]) -> Tensor | float:
        """Make the main prediction again, once per pass and structure of calls, and return by how much it is another one.

        Mostly that is 0. A first call may prepare something, and so draw other random numbers than any later one (ControlNet
        encodes its picture): what such a call gives the second and the third time is the same, and perturbed predictions are
        compared with that.

        :param calls: the host's calls, equal for calls that can be compared
        :param main: the main prediction
        :param again: makes it again
        :raises UnsupportedError: if each time another prediction comes out, of an extension that counts calls for instance
        """
        if calls in self._repeated:
            return 0.0
        second = self.repeated(again)
        if alike(second, main):
            self._repeated.add(calls)
            return 0.0
        if alike(self.repeated(again), second):
            return main - second
        raise UnsupportedError(
            f"{self._labels}: {', '.join(self.names)} changes the UNet so that each call gives a different result, and "
            "perturbed predictions can't be compared. Turn off one of them"
        )

    def repeated(self, again: Callable[[], Tensor]) -> Tensor:
        """Return what is predicted with the random numbers of the main prediction."""
        with self.same_random_numbers():
            return again()

    @contextmanager
    def same_random_numbers(self) -> Iterator[None]:
        """Give torch's generators their state from before the main prediction, and afterwards the present one back.

        Without other extensions nothing in a UNet draws numbers, and nothing is done.
        """
        if not self.names:
            yield
            return
        now = RandomState(self._random.device)
        self._random.restore()
        try:
            yield
        finally:
            now.restore()


def alike(one: Tensor, other: Tensor) -> bool:
    """Return True if a repeated prediction differs from another one by no more than rounding may explain."""
    return bool((one - other).norm() <= TOLERANCE * other.norm())


class RandomState:
    """The state of torch's global generators: the CPU's, and a GPU's if it is the device.

    :param device: device of the model
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cpu = torch.get_rng_state()
        self._gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        """Bring the generators back to this state."""
        torch.set_rng_state(self._cpu)
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu, self.device)


def free_memory(device: torch.device) -> float:
    """Return the free memory of a device in bytes, what torch has reserved and doesn't use included; no limit on the CPU."""
    if device.type != "cuda":
        return float("inf")
    stats = torch.cuda.memory_stats(device)
    unused = stats["reserved_bytes.all.current"] - stats["active_bytes.all.current"]
    return torch.cuda.mem_get_info(device)[0] + unused


class Run:
    """One call of ``p.sample`` with a plan.

    :param plan: the active techniques
    :param p: the host's processing object
    :param new_pass: the host's adapter
    """

    def __init__(self, plan: Plan, p: Any, new_pass: NewPass) -> None:
        self._plan, self._p, self._new_pass = plan, p, new_pass
        self._pass: Pass | None = None
        self._problem: Exception | None = None
        self._attached = False
        self._calls = 0
        self.together = Together()

    def sample(self, sample: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the host's ``p.sample`` with the run attached to each pass.

        :raises UnsupportedError: if a pass could not be guided as requested
        """
        mark = InstanceAttribute(self._p, RUN, self)
        try:
            result = sample(*args, **kwargs)
        finally:
            undo_all(self._end_pass, mark.restore)
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem
        if not self._attached:
            raise UnsupportedError("the picture was sampled without SDFM: another script replaced the sampling")
        return result

    def before_pass(self) -> None:
        """Attach to ``p.sampler``: the host calls this before each pass (Forge twice before a hires pass), and swallows
        exceptions."""
        self._end_pass()
        try:
            self._pass = self._new_pass(self._plan, self._p)
            self._attached = True
        except Exception as problem:  # raised by `sample`, where the user sees it
            self._problem = problem

    def before_call(self, params: Any) -> None:
        """Prepare for a denoiser call, after a possible switch to the refiner; the host swallows exceptions here as well."""
        if self._pass is None or params.denoiser is not self._pass.denoiser:
            self._problem = self._problem or UnsupportedError(
                "the picture was sampled without SDFM: another script or extension used its own sampler"
            )
            return
        self._pass.before_call(params, self._calls)
        self._calls += 1

    def _end_pass(self) -> None:
        ended, self._pass = self._pass, None
        if ended is not None:
            ended.detach()
            self._problem = self._problem or ended.problem


def run_of(p: Any) -> Run | None:
    """Return the run with which a processing object is sampling, if any."""
    return getattr(p, RUN, None)


def together_of(p: Any) -> Together:
    """Return what decides, for all passes of a run, if perturbed rows run together with the host's."""
    run = run_of(p)
    return Together() if run is None else run.together
