"""Forge 2."""
