"""Samplers whose names an old extension changed while it sampled."""

from __future__ import annotations

import re

ALTERED = re.compile(r"(_dynthres\d+)+$")


def true_sampler(name: str) -> str:
    """The sampler that a text means: dynamic thresholding wrote ``Euler a_dynthres1`` until May 2023.

    The hosts know no such name, and silently take their first sampler for it.
    """
    return ALTERED.sub("", name)
