"""The techniques that there are; their order here is their order in the panel."""

from ..sampling.stages import Technique
from .pag import Pag

TECHNIQUES: tuple[type[Technique], ...] = (Pag,)
