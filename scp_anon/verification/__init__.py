"""A folder of results, checked: what the profile would still change, what is left of originals, what is broken."""

from scp_anon.verification.checks import Finding, Job
from scp_anon.verification.run import Report, verify

__all__ = ["Finding", "Job", "Report", "verify"]
