"""What is told of a run: counts, which name nobody; and where it was asked for, what became of each source."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from scp_anon.batch.work import Outcome
from scp_anon.batch.writing import open_private
from scp_anon.errors import ConfigError
from scp_anon.version import VERSION


@dataclass
class Summary:
    """The counts of a run."""

    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    size: int = 0
    begin: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.by_status[outcome.status] += 1
        if outcome.status != "skipped":
            self.size += outcome.size
        if outcome.reason:
            self.by_reason[outcome.reason] += 1

    @property
    def total(self) -> int:
        """How many there were."""
        return self.by_status.total()

    @property
    def is_clean(self) -> bool:
        """Nothing was quarantined, and nothing failed."""
        return not (self.by_status["quarantined"] or self.by_status["failed"])

    def rates(self) -> tuple[float, float]:
        """Files and bytes a second, of those that were not skipped."""
        taken = max(time.monotonic() - self.begin, 1e-9)
        return (self.total - self.by_status["skipped"]) / taken, self.size / taken

    def as_json(self, dry_run: bool) -> str:
        """All counts."""
        statuses = ("delivered", "filtered", "quarantined", "failed", "skipped")
        content = {
            "version": VERSION,
            "dry_run": dry_run,
            "total": self.total,
            **{status: self.by_status[status] for status in statuses},
            "reasons": dict(self.by_reason.most_common()),
            "bytes": self.size,
            "seconds": round(time.monotonic() - self.begin, 3),
            "files_per_second": round(self.rates()[0], 1),
        }
        return json.dumps(content, indent=2) + "\n"


def write_report(report: IO[str], outcome: Outcome) -> None:
    """Append one JSON object. It names the source: a report is written only where it was asked for.

    Raises ConfigError where it cannot be written.
    """
    line = {"source": outcome.source, "status": outcome.status, "output": outcome.output, "reason": outcome.reason}
    try:
        report.write(json.dumps(line) + "\n")
    except BrokenPipeError:
        raise  # whoever reads it has had enough
    except OSError as error:
        raise ConfigError(f"the report cannot be written: {error.strerror}") from None


class QuarantineFolder:
    """The folder for copies of what cannot be ruled on, with an index of them. Both are for their owner's eyes only."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is missing. Raises ConfigError."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
        except OSError as error:
            raise ConfigError(f"{folder}: the quarantine folder cannot be made: {error.strerror}") from None
        self._index = open_private(folder / "index.jsonl", "index", "a")

    def add(self, outcome: Outcome) -> None:
        """Note a copy in the index."""
        line = {
            "file": outcome.copy,
            "source": outcome.source,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "size": outcome.size,
        }
        self._index.write(json.dumps(line) + "\n")
        self._index.flush()

    def close(self) -> None:
        """Close the index."""
        self._index.close()
