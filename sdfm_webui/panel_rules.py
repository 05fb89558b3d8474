"""Effects of the panel's controls on each other, in the browser, without a request to the server."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from lib_sdfm.sampling.stages import ORIGINAL
from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.settings import Schema

from .events import in_browser, run_on
from .technique_fold import ElemId


def connect_rules(schema: Schema, controls: dict[str, Any], elem_id: ElemId) -> None:
    """Connect the panel's rules.

    :param controls: the controls by field id
    """
    _connect_implied(schema, controls)
    _connect_hires(schema, controls, elem_id)
    _connect_recipe(schema, controls, elem_id)
    for field in schema.fields:
        if field.param.panel_first is not None:
            _connect_first_value(schema, field, controls, elem_id)


def _connect_implied(schema: Schema, controls: dict[str, Any]) -> None:
    """Set implied values when the user changes a control: a stage of FreeU, for example, sets its preset to custom."""
    movers: dict[tuple[str, Any], list[Any]] = {}
    for field in schema.fields:
        for other, implied in field.param.implies:
            movers.setdefault((f"{field.technique.name}.{other}", implied), []).append(controls[field.id])
    for (target, implied), moved in movers.items():
        run_on("input", moved, f"() => [{json.dumps(implied)}]", outputs=[controls[target]])


def _connect_hires(schema: Schema, controls: dict[str, Any], elem_id: ElemId) -> None:
    """Turn a technique's own values of the hires pass on when the user changes one of them.

    One event serves all techniques, as each would cost half a kilobyte of the page; the browser knows which one was touched.
    """
    moved = [controls[field.id] for field in schema.fields if field.role == "setting" and field.param.optional]
    switches = {field.technique.name: controls[field.id] for field in schema.fields if field.role == "hires"}
    if not moved:
        return
    folds = json.dumps([elem_id(name) for name in switches])
    script = f"(...values) => sdfmHires({folds}, values)"
    run_on("input", moved, script, inputs=list(switches.values()), outputs=list(switches.values()))


def _connect_recipe(schema: Schema, controls: dict[str, Any], elem_id: ElemId) -> None:
    """Give what the old extensions lack its neutral value when the user chooses them, and its own back afterwards."""
    fields = only_of_sdfm(schema)
    neutral = json.dumps([field.control_default for field in fields])
    panel = json.dumps(elem_id("panel"))
    affected = [controls[field.id] for field in fields]
    recipe = controls["recipe"]
    script = f"(recipe, ...values) => sdfmRecipe({panel}, recipe, values, {neutral})"
    recipe.input(outputs=affected, **in_browser(script, [recipe, *affected]))


def only_of_sdfm(schema: Schema) -> list[Field]:
    """Return the fields that must be at their defaults in recipe original, without those that only count with one of them."""
    switched_off = {t.name for t in schema.techniques if ORIGINAL not in t.recipes}
    found = []
    for field in schema.fields:
        if field.technique is None or ORIGINAL in field.recipes:
            continue
        if field.technique.name in switched_off:
            is_alone = field.role == "switch"
        else:
            hires = schema.by_id.get(f"{field.technique.name}.hires")
            is_alone = not field.param.optional or ORIGINAL in hires.recipes
        if is_alone:
            found.append(field)
    return found


def _connect_first_value(schema: Schema, field: Field, controls: dict[str, Any], elem_id: ElemId) -> None:
    """Build the hidden button that gives a control its first value, which the browser presses as the user switches it on.

    It changes nothing unless all settings of the technique have their defaults, with which it has no effect.
    """
    button = gr.Button("", elem_id=elem_id(f"{field.technique.name}_first"), elem_classes=["sdfm-ask"])
    button.do_not_save_to_config = True
    own = [f for f in schema.in_panel_order(field.technique) if f.role == "setting" and not f.param.optional]
    usual, control = json.dumps([f.param.default for f in own]), controls[field.id]
    place, first = own.index(field), json.dumps(field.param.panel_first)
    script = f"(...values) => [{usual}.every((value, i) => value === values[i]) ? {first} : values[{place}]]"
    button.click(outputs=[control], **in_browser(script, [controls[f.id] for f in own]))
