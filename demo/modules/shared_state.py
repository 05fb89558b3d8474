"""The state of the running job."""

from __future__ import annotations

import datetime
from typing import Any


class State:
    """Counters and flags of the job; A1111's names."""

    def __init__(self) -> None:
        self.textinfo: str | None = None
        self.begin("")
        self.job_count = 0

    def begin(self, job: str = "(unknown)") -> None:
        self.job = job
        self.job_timestamp = datetime.datetime.now().strftime("%Y%m%d%H%M%S")
        self.job_count = -1
        self.job_no = 0
        self.processing_has_refined_job_count = False
        self.sampling_step = 0
        self.sampling_steps = 0
        self.skipped = self.interrupted = self.stopping_generation = False

    def end(self) -> None:
        self.job = ""
        self.job_count = 0

    def nextjob(self) -> None:
        """One batch or pass is done."""
        self.job_no += 1
        self.sampling_step = 0

    def interrupt(self) -> None:
        self.interrupted = True

    def skip(self) -> None:
        self.skipped = True

    def dict(self) -> dict[str, Any]:
        """Return the answer of the API's progress."""
        names = ("skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no")
        return {name: getattr(self, name) for name in (*names, "sampling_step", "sampling_steps")}

    def fraction(self) -> float:
        """How much of the job is done, from 0 to 1."""
        if self.job_count <= 0:
            return 0.0
        of_this = self.sampling_step / self.sampling_steps if self.sampling_steps else 0.0
        return min((self.job_no + of_this) / self.job_count, 1.0)
