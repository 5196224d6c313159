"""scp-anon: a DICOM network node that de-identifies on receipt.

As a library: `Deidentifier(load_key(path)).file(source, target)`, or `.bytes(data)`, or `.dataset(data_set)`.
"""

from scp_anon.deid import Attribute, Deidentifier, Verdict, generate_key, load_key
from scp_anon.errors import ConfigError, Filtered, Reason, ScpAnonError, Undecodable
from scp_anon.version import VERSION as __version__

__all__ = [
    "Attribute",
    "ConfigError",
    "Deidentifier",
    "Filtered",
    "Reason",
    "ScpAnonError",
    "Undecodable",
    "Verdict",
    "__version__",
    "generate_key",
    "load_key",
]
