"""AUTOMATIC1111 1.10: a run is one call of ``p.sample``, attached to the sampler of each of its passes.

What is touched, and put back when the call ends, however it ends: on the sampler instance ``func``, on its CFG denoiser
``combine_denoised``, a hook on the denoiser's inner model; and, during a model call, hooks on modules of the UNet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..errors import UnsupportedError
from ..sampling.plan import Plan
from .a1111_pass import A1111Pass
from .attributes import InstanceAttribute

RUN = "sdfm_run"
"""Attribute of the processing object that holds the run while it samples."""


class A1111Run:
    """One call of ``p.sample`` with a plan.

    :param plan: the active techniques
    :param p: the host's processing object
    :param unet: gives the diffusion model that is loaded at the moment (a refiner changes it)
    """

    def __init__(self, plan: Plan, p: Any, unet: Callable[[], nn.Module]) -> None:
        self._plan, self._p, self._unet = plan, p, unet
        self._pass: A1111Pass | None = None
        self._problem: Exception | None = None
        self._attached = False
        self._calls = 0

    def sample(self, sample: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls the host's ``p.sample`` with the run attached to each pass.

        :raises UnsupportedError: if a pass could not be guided as asked for
        """
        mark = InstanceAttribute(self._p, RUN, self)
        try:
            result = sample(*args, **kwargs)
        finally:
            self._end_pass()
            mark.restore()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem
        if not self._attached:
            raise UnsupportedError("the picture was sampled without SDFM: another script replaces the sampling")
        return result

    def before_pass(self) -> None:
        """Attaches to ``p.sampler``: the host calls this before each pass, and swallows exceptions."""
        self._end_pass()
        try:
            self._pass = A1111Pass(self._plan, self._p, self._unet)
            self._attached = True
        except Exception as problem:  # raised by `sample`, where the user sees it
            self._problem = problem

    def before_call(self, params: Any) -> None:
        """Looks at a denoiser call after a refiner had its turn: the host swallows exceptions here as well."""
        if self._pass is None or params.denoiser is not self._pass.denoiser:
            self._problem = self._problem or UnsupportedError(
                "the picture was sampled without SDFM: another script or extension made its own sampler"
            )
            return
        self._pass.before_call(params, self._calls)
        self._calls += 1

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._pass.detach()
            self._problem = self._problem or self._pass.problem
        self._pass = None


def run_of(p: Any) -> A1111Run | None:
    """The run that a processing object is sampling with, if any."""
    return getattr(p, RUN, None)
