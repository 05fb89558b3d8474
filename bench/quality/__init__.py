"""Benchmarks of pictures by the demo's models: whether techniques do what their papers say."""
