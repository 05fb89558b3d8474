"""Conversion of values from any source to validated settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Any

from ..errors import ConflictError, SettingError
from ..sampling.stages import ModelFacts
from .feature import Feature
from .fields import HIRES_GROUP, RECIPE, RESERVED, Field, fields_of, next_free_position
from .params import ADVANCED, Param, params_of

Values = dict[str, Any]
"""A value for every field, by its id. Settings that follow another may be ``None``."""
LAST_GROUPS = (ADVANCED, HIRES_GROUP)
"""Groups that stand last in the panel."""


@dataclass(frozen=True)
class Settings:
    """Validated settings of a run.

    :param recipe: ``sdfm`` or ``original``
    :param techniques: the settings of each technique that is on, by its name
    :param by_default: settings of the on-by-default features that differ from their defaults, ``None`` if off
    """

    recipe: str
    techniques: dict[str, object]
    by_default: dict[str, object | None] = dataclasses.field(default_factory=dict)


def _no_preset(name: Any) -> Mapping[str, Any]:
    raise SettingError("preset", name, "no name, because there are no presets")


class Schema:
    """The settings schema of a tuple of techniques; stateless.

    :param left_to_host: the techniques among them that the host has itself: their positions stay reserved, otherwise they
        don't exist
    :param preset: returns the API's dictionary of a preset, for requests that name one; raises :class:`SettingError` for an
        unknown name
    """

    def __init__(
        self,
        techniques: tuple[type[Feature], ...],
        left_to_host: tuple[type[Feature], ...] = (),
        preset: Callable[[Any], Mapping[str, Any]] = _no_preset,
    ) -> None:
        self.preset = preset
        self.techniques = tuple(technique for technique in techniques if technique not in left_to_host)
        self.left_to_host = left_to_host
        self._every_field = fields_of(techniques)
        self.fields = tuple(field for field in self._every_field if field.technique not in left_to_host)

    @cached_property
    def by_id(self) -> Mapping[str, Field]:
        """Fields by id."""
        return {field.id: field for field in self.fields}

    @cached_property
    def reserved(self) -> Mapping[int, str]:
        """Names of the API's positions that hold no setting here, by position."""
        left = {field.position: field.id for field in self._every_field if field.technique in self.left_to_host}
        return {**RESERVED, **left}

    @cached_property
    def positional(self) -> tuple[Field | None, ...]:
        """Fields in the API's positional order; ``None`` for the reserved positions.

        :raises TypeError: if the techniques' positions overlap or leave gaps; it names the next free one
        """
        places: dict[int, Field | None] = dict.fromkeys(RESERVED)
        free = next_free_position(field.position for field in self._every_field)
        for field in self._every_field:
            if field.position in places:
                first = places[field.position].id if places[field.position] else RESERVED[field.position]
                raise TypeError(
                    f"API position {field.position} is taken twice, by {first} and {field.id}; the next free one is {free}"
                )
            places[field.position] = field
        gap = next((place for place in range(len(places)) if place not in places), None)
        if gap is not None:  # then some field lies beyond the end
            stray = next(field for field in self._every_field if not 0 <= field.position < len(places))
            raise TypeError(f"API positions have gaps: {stray.id} has {stray.position}; the next free one is {gap}")
        return tuple(None if i in self.reserved else places[i] for i in range(len(places)))

    @property
    def position_names(self) -> list[str]:
        """Names of the positions of the API's positional list."""
        return [field.id if field else self.reserved[place] for place, field in enumerate(self.positional)]

    def name_value(self, values: Values, id: str, value: Any) -> None:
        """Set a value that was named in a dictionary or by an axis, with the values that it implies for others."""
        field = self.by_id[id]
        if value is not None:  # one that follows another implies nothing
            values.update({f"{field.technique.name}.{name}": implied for name, implied in field.param.implies})
        values[id] = value

    def in_panel_order(self, technique: type[Feature]) -> tuple[Field, ...]:
        """Return the fields of one technique in the order of the panel."""
        own = [field for field in self.fields if field.technique is technique]
        groups = [*dict.fromkeys(f.group for f in own if f.group not in LAST_GROUPS), *LAST_GROUPS]
        return tuple(sorted(own, key=lambda f: (groups.index(f.group), f.role == "setting", f.param.place)))

    def defaults(self) -> Values:
        """Return default values, with all guidance off."""
        return {field.id: field.param.default for field in self.fields}

    def from_positional(self, args: Sequence[Any], base: Mapping[str, Any] | None = None) -> Values:
        """Return values from a positional list, which may be shorter than the list of fields.

        :param base: values after the end of the list, by default the defaults
        :raises SettingError: if the list is too long, or switches on what the host has itself
        """
        if len(args) > len(self.positional):
            raise SettingError("args", len(args), f"a list of at most {len(self.positional)} values, or one dictionary")
        values = {**self.defaults(), **(base or {})}
        for field, value in zip(self.positional, args):
            if field is not None:
                values[field.id] = value
        self._require_left_to_host(args)
        for technique in self.techniques:
            self._drop_unused_hires(values, technique)
        return values

    def shown(self, values: Mapping[str, Any]) -> Values:
        """Return the controls' contents for these values: a setting that follows another shows that one's value."""
        shown = dict(values)
        for field in self.fields:
            if field.role == "setting" and values[field.id] is None:
                shown[field.id] = values[f"{field.technique.name}.{field.param.follows}"]
            if field.role == "hires":
                optional = [p.name for p in params_of(field.technique.Settings) if p.optional]
                shown[field.id] = any(values[f"{field.technique.name}.{name}"] is not None for name in optional)
        return shown

    def guided(self, values: Mapping[str, Any]) -> Values:
        """Return values with the switch for all guidance on."""
        return {**values, **{f"{t.name}.enabled": True for t in self.techniques if t.is_master}}

    def guides(self, values: Mapping[str, Any]) -> bool:
        """Return True if the switch for all guidance is on."""
        return all(self._checked(f"{t.name}.enabled", values) for t in self.techniques if t.is_master)

    def settings(self, values: Mapping[str, Any]) -> Settings:
        """Return validated settings.

        :raises SettingError: naming the setting, the value and what is allowed
        :raises ConflictError: naming two techniques that exclude each other
        """
        recipe = self._checked("recipe", values)
        chosen: dict[str, object] = {}
        by_default: dict[str, object | None] = {}
        guides = self.guides(values)
        for technique in self.techniques:
            if technique.is_master or (technique.is_guidance and not guides):
                continue
            is_on = self._checked(f"{technique.name}.enabled", values)
            own = self._technique_settings(technique, recipe, values) if is_on else None
            if technique.on_by_default and own != technique.Settings():
                by_default[technique.name] = own
            elif not technique.on_by_default and is_on:
                chosen[technique.name] = own
        settings = Settings(recipe, chosen, by_default)
        self._check_together(settings)
        return settings

    def resolved(self, settings: Settings, model: ModelFacts) -> Settings:
        """Return settings with model-dependent values filled in, and with the features that the model requires."""
        asked = settings.techniques
        chosen = {t.name: t.resolved(asked[t.name], model) if t.name in asked else t.implied(model) for t in self.techniques}
        return replace(settings, techniques={name: own for name, own in chosen.items() if own is not None})

    def chosen(self, settings: Settings) -> tuple[Feature, ...]:
        """Return the features that are on in settings."""
        asked = settings.techniques
        return tuple(f(asked[f.name], settings.recipe) for f in self.techniques if f.name in asked)

    def by_default(self, settings: Settings) -> tuple[Feature, ...]:
        """Return the features that are on by default and not switched off."""
        found = [
            (f, settings.by_default.get(f.name, f.Settings())) for f in self.techniques if f.on_by_default and not f.is_master
        ]
        return tuple(f(own, settings.recipe) for f, own in found if own is not None)

    def _require_left_to_host(self, args: Sequence[Any]) -> None:
        for field in self._every_field:
            if field.technique in self.left_to_host and field.role == "switch" and field.position < len(args):
                self.require_off(field.technique, args[field.position])

    def require_off(self, technique: type[Feature], asked: Any) -> None:
        """Raise :class:`SettingError` if a request uses a technique that the host has itself."""
        if asked not in ("", None, False):
            raise SettingError(technique.name, asked, f"this WebUI's own field {technique.host_field} instead")

    def _technique_settings(self, technique: type[Feature], recipe: str, values: Mapping[str, Any]) -> object:
        checked = {p.name: self._checked(f"{technique.name}.{p.name}", values) for p in params_of(technique.Settings)}
        for param in params_of(technique.Settings):
            if not _counts(param, checked):
                checked[param.name] = param.default
            _check_recipe(param, checked, recipe, f"{technique.name}.{param.name}")
        settings = technique.Settings(**checked)
        if recipe not in technique.recipes:
            shown = RECIPE.shown_as[1] if RECIPE.shown_as else {}
            known = " or ".join(f"{name} (“{shown.get(name, name)}”)" for name in technique.recipes)
            allowed = f"{known} with {technique.label}, which the old extensions did not have"
            raise SettingError(RECIPE.key, recipe, allowed, "recipe")
        try:
            technique.check(settings, recipe)
        except SettingError as error:
            raise error.at(self._id_named(technique, error.setting)) from None
        return settings

    def _check_together(self, settings: Settings) -> None:
        """Raise :class:`ConflictError` for two features that exclude each other."""
        for one, other in permutations(self.chosen(settings), 2):
            why = one.conflict(other)
            if why is not None:
                raise ConflictError(one.label, other.label, why)

    def _id_named(self, technique: type[Feature], name: str) -> str:
        """Return the id of one of a technique's fields, or of the recipe, by its key or label; empty if there is none."""
        if name in (RECIPE.label, RECIPE.key):
            return "recipe"
        named = (field.id for field in self.in_panel_order(technique) if name in (field.param.key, field.param.label))
        return next(named, "")

    def _checked(self, id: str, values: Mapping[str, Any]) -> Any:
        """Return a field's value in its type.

        :raises SettingError: if it isn't one of the allowed values
        """
        try:
            return self.by_id[id].param.check(values[id])
        except SettingError as error:
            raise error.at(id) from None

    def _drop_unused_hires(self, values: Values, technique: type[Feature]) -> None:
        """Set the values of the hires pass to ``None`` if their switch is off."""
        if values.get(f"{technique.name}.hires") is False:
            for param in params_of(technique.Settings):
                if param.optional:
                    values[f"{technique.name}.{param.name}"] = None


def _counts(param: Param, values: Mapping[str, Any]) -> bool:
    """Return True if a setting has an effect with the others: a stage of FreeU has none with a named preset."""
    return all(values[other] == implied for other, implied in param.implies)


def _check_recipe(param: Param, values: Mapping[str, Any], recipe: str, id: str) -> None:
    value, neutral = values[param.name], (param.default, values.get(param.follows, param.default))
    if recipe not in param.recipes and value not in neutral:
        default = "the value of the first pass" if param.optional else param.default
        raise SettingError(
            param.key, value, f"only {default} when calculated as the old extensions, which had no such setting", id
        )
