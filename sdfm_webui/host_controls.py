"""The host's controls, collected as the host creates them, and what is connected to them once they are all there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gradio.context import Context

TABS = ("txt2img", "img2img")
LAST = "{tab}_gallery"
"""Control that the hosts create after all those of a tab."""

Connect = Callable[[str, Mapping[str, Any]], None]
"""Function that gets a tab and all controls by id."""


class HostControls:
    """Collector of controls by their ids.

    :param at_creation: functions by a control's id, with ``{tab}`` in it, that build something behind it, given the tab
    :param connect: functions that are called once per tab, when its controls exist
    """

    def __init__(self, at_creation: Mapping[str, Callable[[str], Any]], connect: list[Connect]) -> None:
        self._at_creation, self._connect = at_creation, connect
        self.found: dict[str, Any] = {}

    def after_component(self, component: Any, **kwargs: Any) -> None:
        """Handle the host's callback of this name."""
        id = getattr(component, "elem_id", None)
        if not isinstance(id, str) or Context.block is None:
            return
        self.found[id] = component
        for tab in TABS:
            for after, build in self._at_creation.items():
                if id == after.format(tab=tab):
                    built = build(tab)
                    self.found[built.elem_id] = built
            if id == LAST.format(tab=tab):
                for connect in self._connect:
                    connect(tab, self.found)


def present(found: Mapping[str, Any], ids: Mapping[str, str], tab: str) -> dict[str, Any]:
    """Return those of some controls that exist, by their names.

    :param ids: ids by name, with ``{tab}`` in them
    """
    named = {name: id.format(tab=tab) for name, id in ids.items()}
    return {name: found[id] for name, id in named.items() if id in found}
