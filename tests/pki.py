"""Certificates for the tests: an authority, and what it has signed, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from scp_anon.network.tls import Credentials, Profile


@dataclass(frozen=True)
class Pki:
    """Files of an authority, and of certificates that it has signed."""

    folder: Path
    ca: Path

    def credentials(self, name: str, profile: Profile = "b12") -> Credentials:
        """A certificate of this name."""
        return Credentials(self.folder / f"{name}.pem", self.folder / f"{name}.key", self.ca, profile)

    def tls(self, name: str, **changes: Any) -> dict[str, Any]:
        """The same as settings."""
        of = self.credentials(name)
        return {"certificate": str(of.certificate), "key": str(of.key), "ca": str(of.ca), **changes}


def made(folder: Path, *names: str) -> Pki:
    """An authority, and certificates for these names."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in names:
        certificate = authority.issue_cert(name, common_name=name)
        (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
    return Pki(folder, folder / "ca.pem")
