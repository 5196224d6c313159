"""TLS, in and out: with DCMTK as the peer both ways, with client certificates, and with those who mean harm."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scp_anon.errors import AssociationError, ConfigError
from scp_anon.network.association import Context
from scp_anon.network.scu import VERIFICATION_CONTEXT, Peer, Requestor, read_meta
from scp_anon.network.tls import AcceptorTls, Credentials, RequestorTls
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node, scp_anon, storescu
from tests.peers import free_port, require_peer
from tests.pki import Pki, made

CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The hospital's authority: a node, a scanner, and a server on this host."""
    return made(tmp_path_factory.mktemp("pki") / "ours", "node", "scanner", "127.0.0.1")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Somebody else's."""
    return made(tmp_path_factory.mktemp("pki") / "others", "scanner", "127.0.0.1")


@contextlib.contextmanager
def secured(folder: Path, pki: Pki, **changes: Any) -> Iterator[Node]:
    """A node with TLS on its only address."""
    port = free_port()
    listen = [{"address": "127.0.0.1", "port": port, "tls": pki.tls("node", **changes)}]
    with running_node(folder, listen=listen, limits={"handshake_timeout": "2s"}) as node:
        node.port = port
        yield node


def associate(node: Node, credentials: Credentials, server_name: str = "node") -> Requestor:
    """An association with a node, over TLS."""
    tls = RequestorTls(credentials, server_name)
    return Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 10, tls), [VERIFICATION_CONTEXT, CT])


def written(folder: Path, name: str = "1", pixels: int = 512) -> Path:
    """A file to send."""
    path = folder / f"{name}.dcm"
    path.write_bytes(samples.encoded(samples.image(name, pixels=pixels)))
    return path


# ---------------------------------------------------------------------- in


@pytest.mark.parametrize("profile", ["b12", "b13"])
def test_received_over_tls(profile: str, tmp_path: Path, pki: Pki) -> None:
    """Small and large instances, many over one association; nobody gets in without TLS."""
    files = [written(tmp_path, str(i)) for i in range(10)] + [written(tmp_path, "large", 20 << 20)]
    with secured(tmp_path / "node", pki, profile=profile) as node:
        with associate(node, Credentials(None, None, pki.ca)) as requestor:
            for path in files:
                meta, start = read_meta(path)
                assert requestor.store(path, meta, start) == 0
            assert requestor.echo() == 0
        eventually(lambda: len(node.delivered()) == len(files) and node.is_at_rest())
        with pytest.raises(AssociationError):
            Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 10), [VERIFICATION_CONTEXT])
        assert node.end() == 0


@pytest.mark.parametrize("options", [(), ("+px",), ("+pz",)])
def test_received_from_dcmtk(options: tuple[str, ...], tmp_path: Path, pki: Pki) -> None:
    """With each of its BCP 195 profiles, and with its certificate shown."""
    scanner = pki.credentials("scanner")
    secure = ["+tls", str(scanner.key), str(scanner.certificate), "+cf", str(pki.ca), *options]
    with secured(tmp_path / "node", pki, client="required", subjects=["scanner"]) as node:
        done = storescu(node.port, *secure, str(written(tmp_path)))
        assert done.returncode == 0, done.stderr
        eventually(node.delivered)


def test_client_certificates(tmp_path: Path, pki: Pki, others: Pki) -> None:
    """Required means from an authority that we believe, and of a subject that is listed; a refusal is logged."""
    anonymous = Credentials(None, None, pki.ca)
    stranger = Credentials(others.credentials("scanner").certificate, others.credentials("scanner").key, pki.ca)
    for changes, welcome, unwelcome in (
        ({"client": "none", "ca": None}, [anonymous, pki.credentials("scanner"), stranger], []),
        ({"client": "optional"}, [anonymous, pki.credentials("scanner")], [stranger]),
        ({"client": "required"}, [pki.credentials("scanner"), pki.credentials("127.0.0.1")], [anonymous, stranger]),
        (
            {"client": "required", "subjects": ["scanner"]},
            [pki.credentials("scanner")],
            [anonymous, stranger, pki.credentials("127.0.0.1")],
        ),
    ):
        folder = tmp_path / "-".join(map(str, changes.values())).replace("/", "_")
        with secured(folder, pki, **changes) as node:
            for credentials in welcome:
                with associate(node, credentials) as requestor:
                    assert requestor.echo() == 0
            for credentials in unwelcome:
                with pytest.raises(AssociationError):
                    associate(node, credentials).echo()
            refused = [event["reason"] for event in node.events("connection-refused")]
            eventually(lambda: len(node.events("connection-refused")) == len(unwelcome))  # noqa: B023 - called at once
            assert all("TLS" in reason for reason in refused)


def test_server_that_is_not_the_one_meant(tmp_path: Path, pki: Pki, others: Pki) -> None:
    """A requestor believes neither another name nor another authority."""
    with secured(tmp_path / "node", pki) as node:
        with pytest.raises(AssociationError, match="certificate verify failed"):
            associate(node, Credentials(None, None, pki.ca), "research")
        with pytest.raises(AssociationError, match="certificate verify failed"):
            associate(node, Credentials(None, None, others.ca))


def test_old_protocols_and_weak_ciphers(tmp_path: Path, pki: Pki) -> None:
    """TLS 1.2 is not spoken without forward secrecy and authenticated encryption; b13 takes all that it lists."""
    for profile, ciphers, is_taken in (
        ("b12", "ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("b13", "ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("b13", "ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("b13", "ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("b13", "ECDHE-ECDSA-AES256-CCM", True),
        ("b12", "ECDHE-ECDSA-AES256-CCM", False),
        ("b13", "ECDHE-ECDSA-AES256-SHA384", False),
        ("b12", "ECDHE-ECDSA-AES256-SHA384", False),
    ):
        with secured(tmp_path / f"{profile} {ciphers}", pki, profile=profile) as node:
            context = ssl.create_default_context(cafile=str(pki.ca))
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
            with socket.create_connection(("127.0.0.1", node.port), 10) as plain:
                if is_taken:
                    context.wrap_socket(plain, server_hostname="node").close()
                else:
                    with pytest.raises(OSError, match=r"handshake failure|alert|reset"):
                        context.wrap_socket(plain, server_hostname="node")


def test_silence_and_garbage_hold_nobody_up(tmp_path: Path, pki: Pki) -> None:
    """Peers that say nothing, or no TLS, are let go after the handshake's time; meanwhile others are served."""
    with secured(tmp_path / "node", pki) as node:
        silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(10)]
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(1000), bytes(5000)):
            with socket.create_connection(("127.0.0.1", node.port)) as peer:
                peer.sendall(garbage)
        begun = time.monotonic()
        with associate(node, Credentials(None, None, pki.ca)) as requestor:
            assert requestor.echo() == 0
        assert time.monotonic() - begun < 1.5
        for sock in silent:
            sock.settimeout(10)
            with contextlib.suppress(ConnectionError):
                assert sock.recv(100)[:1] in (b"", b"\x15")
            sock.close()
        assert node.end() == 0


def test_new_certificate_without_a_restart(tmp_path: Path) -> None:
    """It is used from the next handshake on; one that is unusable leaves the old one in force."""
    pki, newer = made(tmp_path / "first", "node"), made(tmp_path / "second", "node")
    with secured(tmp_path / "node", pki) as node:
        associate(node, Credentials(None, None, pki.ca)).release()
        for suffix in (".pem", ".key"):
            shutil.copy(newer.folder / f"node{suffix}", pki.folder / f"node{suffix}")
        eventually(lambda: is_served(node, newer.ca) and not is_served(node, pki.ca))
        (pki.folder / "node.pem").write_text("half a cert")
        eventually(lambda: is_served(node, newer.ca) and node.events("certificates-unusable"))


def is_served(node: Node, ca: Path) -> bool:
    """Whether a requestor that believes this authority gets an association."""
    try:
        associate(node, Credentials(None, None, ca)).release()
    except AssociationError:
        return False
    return True


# ---------------------------------------------------------------------- out


@contextlib.contextmanager
def secure_storescp(folder: Path, port: int, pki: Pki, *options: str) -> Iterator[Path]:
    """DCMTK's storescp behind TLS."""
    folder.mkdir()
    server = pki.credentials("127.0.0.1")
    secure = ["+tls", str(server.key), str(server.certificate), "+cf", str(pki.ca), *options]
    command = [require_peer("storescp"), "-od", str(folder), "--accept-all", "--fork", *secure, str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield folder
        finally:
            process.kill()


def to_peer(port: int, tls: dict[str, Any]) -> dict[str, Any]:
    """Settings for a node that delivers over TLS."""
    peer = {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "STORESCP", "tls": tls}
    route = {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["peer"]}
    return {"destinations": {"peer": peer}, "routes": [route]}


def test_delivered_to_dcmtk(tmp_path: Path, pki: Pki) -> None:
    """It asks for our certificate, and gets it; what it receives is what a folder would."""
    port = free_port()
    with (
        secure_storescp(tmp_path / "received", port, pki) as received,
        running_node(tmp_path / "node", **to_peer(port, pki.tls("node"))) as node,
    ):
        sent = [str(written(tmp_path, name, pixels)) for name, pixels in (("1", 512), ("2", 512), ("3", 3 << 20))]
        assert storescu(node.port, *sent).returncode == 0
        eventually(node.is_at_rest)
        assert len(list(received.iterdir())) == 3


def test_destination_that_cannot_be_believed(tmp_path: Path, pki: Pki, others: Pki) -> None:
    """Nothing is sent to it: the instance waits."""
    port = free_port()
    with (
        secure_storescp(tmp_path / "received", port, others, "-ic") as received,
        running_node(tmp_path / "node", **to_peer(port, pki.tls("node"))) as node,
    ):
        assert storescu(node.port, str(written(tmp_path))).returncode == 0
        deferred = eventually(lambda: node.events("deferred"))
        assert "certificate verify failed" in deferred[0]["reason"]
        assert not list(received.iterdir())
        assert len(node.in_spool("outgoing")) == 1


# ---------------------------------------------------------------------- commands


def test_echo_and_send(tmp_path: Path, pki: Pki) -> None:
    """By the command line; without an authority to believe there is no TLS."""
    scanner = pki.tls("scanner")
    secure = ["--tls-ca", scanner["ca"], "--tls-certificate", scanner["certificate"], "--tls-key", scanner["key"]]
    with secured(tmp_path / "node", pki, client="required") as node:
        peer = ["127.0.0.1", str(node.port)]
        assert scp_anon("echo", *peer, *secure, "--tls-name", "node").returncode == 0
        assert scp_anon("send", *peer, str(written(tmp_path)), *secure, "--tls-name", "node").returncode == 0
        eventually(node.delivered)
        done = scp_anon("echo", *peer, *secure)
        assert done.returncode == 1
        assert "certificate verify failed" in done.stderr
        done = scp_anon("echo", *peer, "--tls-name", "node")
        assert done.returncode == 2
        assert "--tls-ca" in done.stderr
        assert "TLS by PS3.15 B.12, client certificates required" in node.command("conformance").stdout


# ---------------------------------------------------------------------- settings


def test_files_that_cannot_be_used(tmp_path: Path, pki: Pki) -> None:
    """They are named, and what is wrong with them; nothing starts."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    good = pki.credentials("node")
    for credentials in (
        Credentials(tmp_path / "missing.pem", good.key, None),
        Credentials(garbage, good.key, None),
        Credentials(good.certificate, pki.credentials("scanner").key, None),
        Credentials(good.certificate, good.key, garbage),
    ):
        with pytest.raises(ConfigError, match=r"tls: cannot use .*\.pem"):
            AcceptorTls(credentials, "none", None)
    node = Node(tmp_path, listen=[{"port": free_port(), "tls": pki.tls("node", certificate=str(garbage))}])
    for command in ("check", "serve"):
        done = node.command(command)
        assert done.returncode == 2
        assert str(garbage) in done.stderr
