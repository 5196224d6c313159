"""The commands that are a requestor: send, echo."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from scp_anon import config
from scp_anon.dicom.finding import Irregular
from scp_anon.dicom.part10 import FileMeta, read_file_meta
from scp_anon.dicom.uids import transfer_syntaxes
from scp_anon.dicom.values import read_values
from scp_anon.errors import AssociationError, ConfigError, Undecodable
from scp_anon.filesystem import opened
from scp_anon.harmless import visible
from scp_anon.network.association import Context
from scp_anon.network.negotiation import MAXIMUM_CONTEXTS
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor
from scp_anon.network.tls import Credentials, RequestorTls


def _title(value: str) -> str:
    try:
        return config.ae_title(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Host = Annotated[str, typer.Argument(help="Host name or IP address of the peer.")]
Port = Annotated[int, typer.Argument(help="TCP port of the peer.", min=1, max=65535)]
Calling = Annotated[str, typer.Option(help="Our AE title.", callback=_title)]
Called = Annotated[str, typer.Option(help="The AE title of the peer.", callback=_title)]
Ca = Annotated[Path | None, typer.Option("--tls-ca", help="Speak TLS; the authorities to believe, as PEM.")]
Certificate = Annotated[
    Path | None, typer.Option("--tls-certificate", help="Our certificate, if the peer asks for one.")
]
PrivateKey = Annotated[Path | None, typer.Option("--tls-key", help="Its private key.")]
ServerName = Annotated[str | None, typer.Option("--tls-name", help="The name that the peer's certificate is of.")]
_BATCH = 1000
_SOP_COMMON = {0x00080016: "sop_class_uid", 0x00080018: "sop_instance_uid"}


def _tls(
    host: str, ca: Path | None, certificate: Path | None, key: Path | None, name: str | None
) -> RequestorTls | None:
    """TLS, if there is an authority to believe. Raises ConfigError."""
    if ca is None:
        if certificate or key or name:
            raise ConfigError("TLS needs --tls-ca: the authorities to believe")
        return None
    return RequestorTls(Credentials(certificate, key, ca), name or host)


def echo(
    host: Host,
    port: Port,
    calling: Calling = "SCP_ANON_SCU",
    called: Called = "SCP_ANON",
    ca: Ca = None,
    certificate: Certificate = None,
    key: PrivateKey = None,
    name: ServerName = None,
) -> None:
    """Ask a peer whether it is there, by C-ECHO."""
    peer = Peer(host, port, called, calling, 10, _tls(host, ca, certificate, key, name))
    try:
        with Requestor(peer, [VERIFICATION_CONTEXT]) as requestor:
            if not requestor.accepts(VERIFICATION_CONTEXT):
                raise AssociationError("verification is not accepted")
            status = requestor.echo()
    except AssociationError as error:
        typer.echo(f"{host}:{port}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{host}:{port}: status {status:04X}H")
    if status:
        raise typer.Exit(1)


def send(
    host: Host,
    port: Port,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, and folders of them.", exists=True)],
    calling: Calling = "SCP_ANON_SCU",
    called: Called = "SCP_ANON",
    ca: Ca = None,
    certificate: Certificate = None,
    key: PrivateKey = None,
    name: ServerName = None,
) -> None:
    """Send DICOM files to a peer, by C-STORE."""
    peer = Peer(host, port, called, calling, tls=_tls(host, ca, certificate, key, name))
    sent = failed = 0
    files = _files(paths)
    while batch := list(islice(files, _BATCH)):
        stored: list[Path] = []
        try:
            _send(peer, batch, stored)
        except AssociationError as error:
            typer.echo(f"{host}:{port}: {error}", err=True)
            failed += sum(1 for _ in files)  # they are not even tried
        sent += len(stored)
        failed += len(batch) - len(stored)
    typer.echo(f"{sent} sent, {failed} failed")
    if failed or not sent:
        raise typer.Exit(1)


def _send(peer: Peer, batch: list[Path], stored: list[Path]) -> None:
    """Send files over one association; appends to `stored` what the peer has stored. Raises AssociationError."""
    readable = [(path, found) for path in batch if (found := _announced(path)) is not None]
    contexts = {Context(meta.sop_class_uid, meta.transfer_syntax_uid): None for _, (meta, _) in readable}
    if not contexts:
        return
    with Requestor(peer, islice(contexts, MAXIMUM_CONTEXTS)) as requestor:
        for path, (meta, start) in readable:
            if not requestor.accepts(Context(meta.sop_class_uid, meta.transfer_syntax_uid)):
                typer.echo(f"{visible(str(path))}: no accepted presentation context", err=True)
                continue
            status = requestor.store(path, meta, start)
            if status in (0, 0xB000, 0xB006, 0xB007):
                stored.append(path)
            else:
                typer.echo(f"{visible(str(path))}: status {status:04X}H", err=True)


def _announced(path: Path) -> tuple[FileMeta, int] | None:
    """What a C-STORE-RQ has to say of a file, and where its data set begins; None, and a word to the user, if it can't.

    The SOP class and instance are those of the data set, which File Meta Information does not always agree with.
    """
    try:
        with opened(path) as (file, _):
            meta, start = read_file_meta(file)
            syntax = transfer_syntaxes()[meta.transfer_syntax_uid]
            if syntax.little_endian and not syntax.deflated:
                values = read_values(file, start, len(file), syntax, frozenset(_SOP_COMMON))
                uids = {_SOP_COMMON[tag]: value.strip(b"\0 ").decode("ascii") for tag, value in values.items()}
                meta = meta._replace(**uids)
    except (Undecodable, Irregular, KeyError, UnicodeDecodeError, OSError) as error:
        reason = str(error) if isinstance(error, Undecodable) else type(error).__name__
        typer.echo(f"{visible(str(path))}: cannot be sent: {reason}", err=True)
        return None
    if not meta.sop_class_uid or not meta.sop_instance_uid:
        typer.echo(f"{visible(str(path))}: cannot be sent: it has no SOP class or instance UID", err=True)
        return None
    return meta, start


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file())
        else:
            yield path
