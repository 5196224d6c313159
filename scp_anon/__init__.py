"""scp-anon: a DICOM network node that de-identifies on receipt.

As a library: `Deidentifier(load_key(path)).file(source, target)`, or `.bytes(data)`, or `.dataset(data_set)`.
"""

from scp_anon.deid import Deidentifier, generate_key, load_key
from scp_anon.errors import ConfigError, Reason, ScpAnonError, Undecodable
from scp_anon.version import VERSION as __version__

__all__ = [
    "ConfigError",
    "Deidentifier",
    "Reason",
    "ScpAnonError",
    "Undecodable",
    "__version__",
    "generate_key",
    "load_key",
]
