"""Conds in the hosts' two forms: a tensor, or with SDXL a dictionary of tensors. The tests' stand-ins take them from here."""

from __future__ import annotations

from typing import Any

import torch


class ConditionDict(dict):
    """SDXL's conds, as A1111 and Forge have them: their shape is the text's, their length the number of tensors."""

    @property
    def shape(self) -> torch.Size:
        return self["crossattn"].shape


def rows_from(cond: Any, rows: Any) -> Any:
    """Some rows of conds of either form, or one row."""
    if isinstance(cond, dict):
        return ConditionDict({name: value[rows] for name, value in cond.items()})
    return cond[rows]


def joined(conds: list[Any]) -> Any:
    """Conds of either form one behind the other."""
    if isinstance(conds[0], dict):
        return ConditionDict({name: torch.cat([cond[name] for cond in conds]) for name in conds[0]})
    return torch.cat(conds)
