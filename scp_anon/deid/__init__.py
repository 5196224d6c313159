"""The rule engine: de-identification by PS3.15 Annex E. Knows nothing of sockets, the spool or where files are."""

from scp_anon.deid.admission import PIXELS_SEEN
from scp_anon.deid.custom import Attribute, Verdict
from scp_anon.deid.engine import Deidentified, Deidentifier
from scp_anon.deid.identity import generate_key, load_key
from scp_anon.deid.lint import load_profile, with_audit, with_changes, with_settings
from scp_anon.deid.patients import stamp
from scp_anon.deid.settings import ProfileFile, TablePatients, previewed

__all__ = [
    "PIXELS_SEEN",
    "Attribute",
    "Deidentified",
    "Deidentifier",
    "ProfileFile",
    "TablePatients",
    "Verdict",
    "generate_key",
    "load_key",
    "load_profile",
    "previewed",
    "stamp",
    "with_audit",
    "with_changes",
    "with_settings",
]
