"""A feature: a declaration of settings, from which panel, generation parameters, API and axes are generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..sampling.stages import RECIPES, ModelFacts
from .params import Composite

PERTURBED, CFG, DETAILS, MODEL, REFINER = PARTS = ("Perturbed", "CFG", "Details", "Model", "Refiner")
"""The parts of the panel, in their order."""


class Feature:
    """A feature that users switch on, with its settings.

    Class attributes are the declaration:

    :param name: name in the API and in code
    :param label: short name for messages
    :param title: title of its part of the panel
    :param summary: one paragraph for the panel and the documents
    :param Settings: frozen dataclass of declared settings
    :param active_key: key of the generation parameters that is written if it is on
    :param active_axis: label of the X/Y/Z axis that the original had for its switch
    :param rank: sort key in the generation parameters, ascending; features that are on by default stand last
    :param positions: positions in the API's positional list: of the switch, of each setting in the order of declaration,
        and, if a setting follows another, of the switch that enables those
    :param composites: keys that hold several settings; one of them may be ``active_key``
    :param recipes: the recipes in which it may be on
    :param host_field: name of the field of the host's txt2img jobs that does the same; a host that has it is left to do it
    :param part: the part of the panel, one of :data:`PARTS`
    :param rare: true if the X/Y/Z plot lists its axes on request alone
    :param is_guidance: true if it is off whenever the switch for all guidance is
    :param is_master: true for that switch itself, which is never written to generation parameters
    :param on_by_default: true if it is on unless switched off; it then affects only jobs that use it
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
    recipes: ClassVar[tuple[str, ...]] = RECIPES
    host_field: ClassVar[str | None] = None
    part: ClassVar[str] = DETAILS
    rare: ClassVar[bool] = False
    is_guidance: ClassVar[bool] = False
    is_master: ClassVar[bool] = False
    on_by_default: ClassVar[bool] = False

    def __init__(self, settings: Any, recipe: str) -> None:
        self.settings, self.recipe = settings, recipe

    @classmethod
    def check(cls, settings: Any, recipe: str) -> None:
        """Raise :class:`SettingError` for values that are allowed individually but not together."""

    def conflict(self, other: Feature) -> str | None:
        """Return why it can't be on together with another feature that is, or ``None`` if it can."""

    @classmethod
    def unmentioned(cls, pairs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings to assume for generation parameters without its key, for a feature that is on by default."""
        return {}

    @classmethod
    def implied(cls, model: ModelFacts) -> Any:
        """Return its settings in a job that doesn't mention it, ``None`` if it is off there."""

    @classmethod
    def resolved(cls, settings: Any, model: ModelFacts) -> Any:
        """Return settings with model-dependent values filled in, as they are written and run."""
        return settings

    def recorded(self) -> bool:
        """Return True if it is written to the generation parameters."""
        return True

    def value(self, name: str, hires: bool) -> Any:
        """Return a setting's value in a pass; in the hires pass its separate value, if any."""
        own = getattr(self.settings, f"hires_{name}", None) if hires else None
        return getattr(self.settings, name) if own is None else own

    def passes(self, hires: bool) -> int:
        """Return the extra UNet passes per image and step while it is active."""
        return 0

    def spares(self, hires: bool) -> int:
        """Return how many UNet passes per image and step it may leave out."""
        return 0

    def inert(self, hires: bool) -> str | None:
        """Return why its settings have no effect in a pass, or ``None`` if they have."""

    def condition(self) -> str | None:
        """Return the condition, besides its settings, for it to have an effect; ``None`` if there is none."""
