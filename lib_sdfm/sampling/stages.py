"""What a technique may take part in: a base class whose stages do nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..schema.params import Composite
from .layers import LayerRange
from .prediction import Prediction
from .step import Interval, Step

SDFM, ORIGINAL = "sdfm", "original"
RECIPES = (SDFM, ORIGINAL)


@dataclass(frozen=True)
class Perturbation:
    """How self-attention changes in an extra prediction of the cond rows.

    :param layers: the transformer blocks whose self-attention changes
    :param query: replaces the queries ``(rows, tokens, channels)``, given the height and width of the token map
    :param identity: the attention map becomes the identity, so that attention gives its values V
    :param project: whether ``to_out`` is applied to what attention gives
    """

    layers: tuple[LayerRange, ...]
    query: Callable[[Tensor, tuple[int, int]], Tensor] | None = None
    identity: bool = False
    project: bool = True


@dataclass(frozen=True)
class ModelFacts:
    """What defaults may depend on.

    :param sdxl: whether the checkpoint is SDXL
    :param flow_shift: shift with which the checkpoint is remembered as a flow model, ``None`` if it isn't
    :param sampler: name of the job's sampler
    :param hires_sampler: name of the hires pass' sampler, ``None`` without such a pass
    """

    sdxl: bool = False
    flow_shift: float | None = None
    sampler: str = ""
    hires_sampler: str | None = None


class Technique:
    """One guidance method with its settings; subclasses override the stages that they take part in.

    Class attributes are the declaration from which panel, infotext, API and axes are made:

    :param name: name in the API and in code
    :param label: short name for messages
    :param title: what the panel shows
    :param summary: one paragraph for the panel and README
    :param Settings: frozen dataclass of declared settings
    :param active_key: key of the generation parameters that says that it is on
    :param active_axis: label of the X/Y/Z axis that the original had for its switch
    :param rank: place in the generation parameters, ascending
    :param positions: places in the API's positional list: of the switch, of each setting in the order of declaration,
        and, if a setting follows another, of the switch that makes them count
    :param composites: keys that hold several settings; one of them may be ``active_key``
    :param replaces_cfg: in recipe original it computes CFG itself, whatever else would have combined it
    :param standing: on unless it is switched off; guides nothing, and has an effect only in jobs that call for it
    :param needs_ratio: it must know how far each step of the sampler goes (``Step.ratio``)
    :param cfg_unit: what 1 of the CFG scale is in the scale that it puts in its place, for techniques that change that
        one afterwards
    """

    name: ClassVar[str]
    label: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    Settings: ClassVar[type]
    active_key: ClassVar[str]
    active_axis: ClassVar[str | None] = None
    rank: ClassVar[int]
    positions: ClassVar[tuple[int, ...]]
    composites: ClassVar[tuple[Composite, ...]] = ()
    replaces_cfg: ClassVar[bool] = False
    standing: ClassVar[bool] = False
    needs_ratio: ClassVar[bool] = False
    cfg_unit: ClassVar[float | None] = None

    def __init__(self, settings: object, recipe: str) -> None:
        self.settings, self.recipe = settings, recipe

    @classmethod
    def check(cls, settings: Any, recipe: str) -> None:
        """Raises :class:`SettingError` for values that are allowed alone and not together."""

    @classmethod
    def unmentioned(cls, pairs: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a standing technique that generation parameters without its key mean, where not the defaults."""
        return {}

    @classmethod
    def implied(cls, model: ModelFacts) -> Any:
        """Settings with which it takes part in a job that doesn't mention it, ``None`` if it takes none."""

    @classmethod
    def resolved(cls, settings: Any, model: ModelFacts) -> Any:
        """Settings with what depends on the model filled in, as they are written and run."""
        return settings

    def recorded(self) -> bool:
        """Whether generation parameters mention it."""
        return True

    def passes(self, hires: bool) -> int:
        """Extra UNet rows per image and step while it is active."""
        return 0

    def value(self, name: str, hires: bool) -> Any:
        """A setting in a pass: its value of the hires pass, where it has one there and the pass is that."""
        own = getattr(self.settings, f"hires_{name}", None) if hires else None
        return getattr(self.settings, name) if own is None else own

    def in_window(self, step: Step) -> bool:
        """Whether a call lies between the settings ``start_step`` and ``end_step``, as its recipe counts."""
        window = Interval(self.value("start_step", step.hires), self.value("end_step", step.hires))
        return window.contains_lagging(step) if self.recipe == ORIGINAL else window.contains(step)

    def inert(self, hires: bool) -> str | None:
        """Why the technique changes nothing in a pass with its settings, or ``None`` if it does something."""

    def condition(self) -> str | None:
        """What must hold, besides its settings, for it to change anything; ``None`` if nothing must."""

    def active(self, step: Step) -> bool:
        """Whether it takes part in this call."""
        raise NotImplementedError

    def switch_at(self, asked: float | None) -> float | None:
        """Where a refiner takes over, from where the host was told; a share of the run."""
        return asked

    def follows_refiner(self, when: str, switch_at: float | None) -> bool:
        """Whether a prompt edit with this number or mark changes with the model when a refiner takes over.

        :param switch_at: where the host was told to switch
        """
        return False

    def needs_level(self) -> bool:
        """Whether it asks for the noise level or the time of a call; to know them a GPU has to be waited for."""
        return False

    def needs_uncond(self, step: Step) -> bool:
        """Whether it takes more from the prediction for the negative prompt than its part in CFG."""
        return False

    def perturbation(self, step: Step) -> Perturbation | None:
        """The attention change of its extra prediction, if it needs one."""

    def main_perturbation(self, step: Step) -> Perturbation | None:
        """An attention change of the uncond rows in the main prediction itself."""

    def skip(self, h: Tensor, skip: Tensor, base_width: int, step: Step) -> tuple[Tensor, Tensor]:
        """Edits what enters a decoder block: backbone ``h`` and skip features, each ``(rows, C, H, W)``.

        :param base_width: the UNet's ``model_channels``
        """
        return h, skip

    def guidance_scale(self, scale: float, step: Step) -> float:
        """The CFG scale of this call, from the one that came in."""
        return scale

    def combine(self, prediction: Prediction, step: Step) -> Tensor | None:
        """The guided result ``(B, C, H, W)`` in place of plain CFG, or ``None`` for plain CFG."""

    def correct(self, denoised: Tensor, prediction: Prediction, step: Step) -> Tensor:
        """Adds to the guided result ``(B, C, H, W)``."""
        return denoised

    def renoise(self, denoised: Tensor, prediction: Prediction, step: Step) -> Tensor:
        """Changes what the sampler renoises with: last of all, given the whole guided result ``(B, C, H, W)``."""
        return denoised
