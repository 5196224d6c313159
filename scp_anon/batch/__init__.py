"""Files and folders through the same engine: what `scp-anon deid` does."""

from scp_anon.batch.drift import Drift
from scp_anon.batch.files import Census, Input, check_outside, inputs, is_inside
from scp_anon.batch.pool import context, uninterrupted
from scp_anon.batch.report import Summary, write_report
from scp_anon.batch.session import perform
from scp_anon.batch.work import MIRROR, Job, Outcome
from scp_anon.batch.writing import open_private, write_whole

__all__ = [
    "MIRROR",
    "Census",
    "Drift",
    "Input",
    "Job",
    "Outcome",
    "Summary",
    "check_outside",
    "context",
    "inputs",
    "is_inside",
    "open_private",
    "perform",
    "uninterrupted",
    "write_report",
    "write_whole",
]
