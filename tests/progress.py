"""Prints each file of tests when its last test has ended, instead of dots; failures are named at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest


class Progress:
    """Counts tests and seconds by file; with xdist in the process that hears of all of them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._left, self._seconds = Counter(), Counter()
        self._outcomes: dict[str, Counter[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        if not self._left:
            self._expect(ids)

    def _expect(self, ids: Iterable[str]) -> None:
        self._left.update(_file_of(nodeid) for nodeid in ids)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No letter for a test that passed or was skipped, as the file will be told."""
        if report.outcome == "passed" and report.when != "call":
            return "", "", ""
        return None if report.outcome == "failed" else (report.outcome, "", "")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = _file_of(report.nodeid)
        self._seconds[file] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self._outcomes.setdefault(file, Counter())[report.outcome] += 1
        if report.outcome == "failed":
            self._say(f" {report.nodeid} failed in its {report.when}")
        if report.when != "teardown":
            return
        self._left[file] -= 1
        if not self._left[file]:
            told = ", ".join(f"{number} {outcome}" for outcome, number in self._outcomes[file].items())
            self._say(f"{file}: {told}, {self._seconds[file]:.1f} s")

    def _say(self, line: str) -> None:
        self._config.pluginmanager.get_plugin("terminalreporter").write_line(line)


def _file_of(nodeid: str) -> str:
    return nodeid.split("::")[0]
