"""Generation parameters of Forge, reForge and pamparamm's extension, converted to recipe sdfm.

Features without a counterpart are named in a warning; an invalid value is an error.
"""

from .sampler import true_sampler
from .translate import Translation, translate

__all__ = ["Translation", "translate", "true_sampler"]
