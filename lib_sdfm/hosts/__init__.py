"""Adapters: where a run is attached to a WebUI. Host objects are handed in, never imported."""
