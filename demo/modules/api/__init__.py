"""The HTTP API under /sdapi/v1."""
