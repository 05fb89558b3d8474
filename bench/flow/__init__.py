"""Benchmarks of samplers with a flow model."""
