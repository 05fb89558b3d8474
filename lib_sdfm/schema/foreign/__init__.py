"""Generation parameters of Forge, reForge and pamparamm's extension, read into recipe sdfm with converted values.

What has no counterpart is named; what the text asks for with a value that means nothing is an error.
"""

from .sampler import true_sampler
from .translate import Translation, translate

__all__ = ["Translation", "translate", "true_sampler"]
