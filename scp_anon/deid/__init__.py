"""The rule engine: de-identification by PS3.15 Annex E. Knows nothing of sockets, the spool or where files are."""

from scp_anon.deid.engine import Deidentified, Deidentifier
from scp_anon.deid.identity import generate_key, load_key

__all__ = ["Deidentified", "Deidentifier", "generate_key", "load_key"]
