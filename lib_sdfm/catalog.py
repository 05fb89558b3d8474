"""The schema of the techniques that are registered."""

from .schema.settings import Schema
from .techniques import TECHNIQUES

SCHEMA = Schema(TECHNIQUES)
