"""The WebUIs' stand-ins."""

from tests.hosts.conftest import host  # noqa: F401
