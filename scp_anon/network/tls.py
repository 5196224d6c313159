"""Secure transport connections (PS3.15 Annex B), as acceptor and as requestor.

The profiles are BCP 195 by RFC 8996 and RFC 9325 (B.12), and the modified one (B.13), which permits nothing but what
it lists: ephemeral keys of 256 bits (2048 for DHE), certificates of as much, authenticated encryption, SHA-256 or -384.
Certificates are read again when their files have changed: no restart is needed, and new files that cannot be used leave
the old ones in force.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from scp_anon import log
from scp_anon.errors import Closed, ConfigError

Profile = Literal["b12", "b13"]
Client = Literal["none", "optional", "required"]

# TLS 1.2 as RFC 9325 4.2 recommends it: ephemeral keys and authenticated encryption. TLS 1.3 has no others; of those
# that B.13 lists for it, the two with CCM are not offered, as Python cannot choose them.
_CIPHERS: Final[dict[Profile, str]] = {
    "b12": "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aDSS",
    "b13": "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+ECDSA+AESCCM:ECDHE+ECDSA+AESCCM8:DHE+AESGCM:!aDSS:@SECLEVEL=2",
}
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_LOOK_AGAIN: Final = 1.0  # seconds between looks whether a file has changed


@dataclass(frozen=True)
class Credentials:
    """The files: our certificate with its chain, its private key, and the authorities whom we believe; all PEM."""

    certificate: Path | None
    key: Path | None
    ca: Path | None
    profile: Profile = "b12"

    def files(self) -> Iterator[Path]:
        """Those that there are."""
        yield from (path for path in (self.certificate, self.key, self.ca) if path is not None)


class _Context:
    """An SSL context that follows its files."""

    def __init__(self, credentials: Credentials, side: ssl.Purpose, verify: ssl.VerifyMode) -> None:
        """Raises ConfigError."""
        self._credentials, self._side, self._verify = credentials, side, verify
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._look_at = 0.0
        self._context = self._made()

    def get(self) -> ssl.SSLContext:
        """The context, by the files as they are."""
        with self._lock:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + _LOOK_AGAIN
                if (seen := self._stamps()) != self._seen:
                    self._follow(seen)
            return self._context

    def _follow(self, seen: list[tuple[int, int]]) -> None:
        try:
            self._context = self._made()
            log.event("certificates-read")
        except ConfigError:
            log.error("certificates-unusable")  # half written, perhaps: the old ones hold until they change again
        self._seen = seen

    def _stamps(self) -> list[tuple[int, int]]:
        return [_stamp(path) for path in self._credentials.files()]

    def _made(self) -> ssl.SSLContext:
        credentials = self._credentials
        context = ssl.SSLContext(
            ssl.PROTOCOL_TLS_SERVER if self._side is ssl.Purpose.CLIENT_AUTH else ssl.PROTOCOL_TLS_CLIENT
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS[credentials.profile])
        context.verify_mode = self._verify
        try:
            if credentials.certificate is not None:
                context.load_cert_chain(credentials.certificate, credentials.key)
            if credentials.ca is not None:
                context.load_verify_locations(credentials.ca)
            elif self._verify is not ssl.CERT_NONE:
                context.load_default_certs(self._side)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            names = ", ".join(map(str, credentials.files()))
            raise ConfigError(f"tls: cannot use {names}: {_reason(error)}") from None
        return context


class Unlisted(Closed):
    """The peer's certificate is good, but of nobody who may come."""


class AcceptorTls:
    """TLS on one of our own addresses."""

    def __init__(self, credentials: Credentials, client: Client, subjects: frozenset[str] | None) -> None:
        """`client`: whether clients have to show a certificate. `subjects`: the names that it may be of, None for all.

        Raises ConfigError.
        """
        self._context = _Context(credentials, ssl.Purpose.CLIENT_AUTH, _VERIFY[client])
        self._subjects = subjects

    def wrap(self, connected: socket.socket, timeout: float) -> ssl.SSLSocket:
        """The handshake, within so many seconds. Raises Closed."""
        connected.settimeout(timeout)
        try:
            wrapped = self._context.get().wrap_socket(connected, server_side=True)
        except (OSError, ValueError) as error:
            raise Closed(f"TLS handshake failed: {_reason(error)}") from None
        if self._subjects is not None and self._subjects.isdisjoint(_names(wrapped)):
            wrapped.close()
            raise Unlisted("TLS client certificate is of no subject that is listed")
        return wrapped


class RequestorTls:
    """TLS toward a peer, which has to show a certificate."""

    def __init__(self, credentials: Credentials, server_name: str) -> None:
        """`server_name`: what the peer's certificate has to be of. Raises ConfigError."""
        self._context = _Context(credentials, ssl.Purpose.SERVER_AUTH, ssl.CERT_REQUIRED)
        self._server_name = server_name

    def wrap(self, connected: socket.socket, timeout: float) -> ssl.SSLSocket:
        """The handshake, within so many seconds. Raises Closed."""
        connected.settimeout(timeout)
        try:
            return self._context.get().wrap_socket(connected, server_hostname=self._server_name)
        except (OSError, ValueError) as error:
            connected.close()
            raise Closed(f"TLS handshake failed: {_reason(error)}") from None


def _names(wrapped: ssl.SSLSocket) -> set[str]:
    """The common names and DNS names of the peer's certificate; nothing where it has shown none."""
    certificate = cast("dict[str, Any]", wrapped.getpeercert() or {})
    names = {value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"}
    return names | {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _reason(error: Exception) -> str:
    """What TLS calls an error, without what else its text may hold."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS").lower().replace("_", " ")
    return getattr(error, "strerror", None) or type(error).__name__
