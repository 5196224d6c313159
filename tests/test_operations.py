"""What is told to those who operate a node: health, metrics, what a reload changes, and what systemd is told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pynetdicom import evt

from scp_anon import Reason, generate_key, metrics
from scp_anon.errors import Rejected
from scp_anon.network.scu import Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, Node, eventually, running_node, storescu
from tests.peers import free_port
from tests.test_node_faults import CT, destination, peer, store, to_peer, write_images

ROOT = Path(__file__).resolve().parents[1]


def with_operations(**changes: Any) -> dict[str, Any]:
    """Settings with health and metrics on a free port."""
    return {"operations": {"port": free_port()}, **changes}


def get(node: Node, path: str) -> tuple[int, str]:
    """Status and text of a page."""
    url = f"http://127.0.0.1:{node.config['operations']['port']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def ready(node: Node) -> bool:
    """Whether the node says that it is."""
    return get(node, "/readyz")[0] == 200


def numbers(node: Node) -> dict[str, float]:
    """Every sample that is told, by its name and labels as Prometheus writes them."""
    _, text = get(node, "/metrics")
    return {
        f"{sample.name}{{{','.join(f'{key}={value}' for key, value in sample.labels.items())}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def how_many(directory: Path) -> int:
    """How many there are in a directory, a moment from now."""
    time.sleep(0.03)
    return len(list(directory.iterdir()))


def has_loaded(node: Node, count: int) -> bool:
    """Whether the configuration has been read again so often."""
    return len(node.events("configuration-loaded")) == count


def is_closed(port: int) -> bool:
    """Whether nobody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def rejected(node: Node, called: str) -> bool:
    """Whether an association with this called AE title is rejected."""
    try:
        Requestor(peer(node.port, called), [CT]).release()
    except Rejected:
        return True
    return False


# ---------------------------------------------------------------------- health


@pytest.mark.parametrize("processes", [1, 3])
def test_health(processes: int, tmp_path: Path) -> None:
    """Alive at once, ready when instances can be received, and not ready below the disk reserve."""
    with running_node(tmp_path, **with_operations(processes=processes)) as node:
        assert get(node, "/healthz") == (200, '{"status": "alive"}\n')
        eventually(lambda: ready(node))
        checks = json.loads(get(node, "/readyz")[1])["checks"]
        assert checks == {"receives": True, "delivers": True, "above-reserve": True}
        assert get(node, "/")[0] == 404
        node.end()
        node.config["spool"]["reserve"] = "1000TB"
        node.start()
        eventually(lambda: get(node, "/readyz")[0] == 503)
        assert json.loads(get(node, "/readyz")[1])["checks"]["above-reserve"] is False
        assert get(node, "/healthz")[0] == 200


def test_not_ready_while_a_half_is_missing(tmp_path: Path) -> None:
    """A delivering process that died is told, until it runs again."""
    with running_node(tmp_path, **with_operations(processes=2)) as node:
        eventually(lambda: ready(node))
        delivering = node.processes()[1]
        os.kill(delivering, signal.SIGKILL)
        eventually(lambda: json.loads(get(node, "/readyz")[1])["checks"]["delivers"] is False)
        eventually(lambda: ready(node))
        assert numbers(node)["scp_anon_process_deaths_total{}"] == 1


def test_slow_clients_do_not_keep_others_out(tmp_path: Path) -> None:
    """Connections that say nothing cost a thread each, up to a bound, and end by themselves."""
    with running_node(tmp_path, **with_operations(processes=2)) as node:
        eventually(lambda: ready(node))
        address = "127.0.0.1", node.config["operations"]["port"]
        silent = [socket.create_connection(address) for _ in range(100)]
        for connection in silent[20:]:
            connection.close()
        eventually(lambda: get(node, "/healthz")[0] == 200)
        for connection in silent:
            connection.close()
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 1))).returncode == 0


def test_clients_that_trickle_are_let_go(tmp_path: Path) -> None:
    """As many as may ask at once, and each says a little now and then: the others get an answer in the end."""
    with running_node(tmp_path, **with_operations(processes=2)) as node:
        eventually(lambda: ready(node))
        address = "127.0.0.1", node.config["operations"]["port"]
        trickling = [socket.create_connection(address) for _ in range(40)]
        for connection in trickling:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n")

        def answered() -> bool:
            for connection in trickling:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a: b\r\n")
            time.sleep(1)
            return asked(node) == 200

        eventually(answered, 20)
        for connection in trickling:
            connection.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_health_is_told_however_many_associations_there_are(processes: int, tmp_path: Path) -> None:
    """Their threads are not those of requests, whatever process they are in."""
    with running_node(tmp_path, **with_operations(processes=processes)) as node, contextlib.ExitStack() as open_:
        eventually(lambda: ready(node))
        for _ in range(32):
            open_.enter_context(Requestor(peer(node.port), [CT]))
        assert asked(node) == 200


def asked(node: Node) -> int:
    """The status of /healthz; 0 where the connection ends without one."""
    with contextlib.suppress(OSError):
        return get(node, "/healthz")[0]
    return 0


# ---------------------------------------------------------------------- metrics


def test_what_is_counted(tmp_path: Path) -> None:
    """Instances and their ways add up over the processes, by names of ours; nothing that a peer chose is a label."""
    gone = {"type": "dicom", "host": "127.0.0.1", "port": free_port(), "called_ae_title": "GONE"}
    settings = with_operations(processes=3)
    with running_node(tmp_path / "node", **settings) as node:
        node.end()
        node.config["destinations"]["gone"] = gone
        node.config["routes"].append(
            {"called_ae_title": "BOTH", "project": "test", "pixels": "pass", "destinations": ["disk", "gone"]}
        )
        node.start()
        images = write_images(tmp_path / "images", 9)
        for path in images:
            assert storescu(node.port, str(path)).returncode == 0
        assert storescu(node.port, str(images[0]), called="BOTH").returncode == 0
        assert storescu(node.port, str(images[0]), called="CANARY").returncode != 0
        (tmp_path / "bad.dcm").write_bytes(samples.encoded(samples.image()).replace(b"ISO_IR 100", b"ISO_IR 999"))
        with Requestor(peer(node.port), [CT]) as requestor:
            assert store(requestor, tmp_path / "bad.dcm") == 0
            assert requestor.store(images[0], *_other(images[0])) == 0xA900  # another instance than the command says
        with socket.create_connection(("127.0.0.1", node.port)) as web:
            web.sendall(b"GET / HTTP/1.1\r\n\r\n")
            web.recv(100)
        eventually(lambda: numbers(node).get("scp_anon_deliveries_total{destination=gone,result=deferred}", 0) > 0)
        eventually(lambda: numbers(node)["scp_anon_queue_entries{queue=active}"] == 0)
        told = numbers(node)
        text = get(node, "/metrics")[1]
    assert told[f"scp_anon_instances_received_total{{route={AE_TITLE}}}"] == 10
    assert told["scp_anon_instances_received_total{route=BOTH}"] == 1
    assert told[f"scp_anon_received_bytes_total{{route={AE_TITLE}}}"] > 10000
    assert told[f"scp_anon_instances_deidentified_total{{route={AE_TITLE}}}"] == 9
    assert told["scp_anon_deliveries_total{destination=disk,result=delivered}"] == 10
    assert told["scp_anon_instances_quarantined_total{reason=unknown-character-set}"] == 1
    assert told["scp_anon_quarantine_entries{reason=unknown-character-set}"] == 1
    assert told["scp_anon_stores_refused_total{status=A900}"] == 1
    assert told["scp_anon_rejections_total{reason=called-ae-title-not-recognized}"] == 1
    assert told["scp_anon_rejections_total{reason=invalid-request}"] == 1
    assert told["scp_anon_destination_in_trouble{destination=gone}"] == 1
    assert told["scp_anon_destination_in_trouble{destination=disk}"] == 0
    assert told["scp_anon_queue_entries{queue=outgoing/gone}"] == 1
    assert told["scp_anon_queue_oldest_age_seconds{queue=outgoing/gone}"] > 0
    assert told["scp_anon_commit_seconds_count{}"] == 11
    assert told["scp_anon_commit_seconds_bucket{le=+Inf}"] == 11
    assert told["scp_anon_deidentify_seconds_count{}"] == 10
    assert told["scp_anon_processes{role=receiver}"] == 3
    assert told["scp_anon_associations_total{}"] == 11
    assert told["scp_anon_spool_free_bytes{}"] > 0
    assert samples.CANARY not in text
    assert "CANARY" not in text


def _other(path: Path) -> tuple[Any, int]:
    """What a sender says of a file that is another one."""
    meta, start = read_meta(path)
    return meta._replace(sop_instance_uid="1.2.3"), start


def test_names_and_labels() -> None:
    """Names as Prometheus asks for: a prefix, base units, a total for counters; labels from short lists."""
    for family in metrics.FAMILIES:
        assert family.name.startswith("scp_anon_")
        assert not family.name.endswith("_total")
        assert isinstance(family, metrics.Histogram) == family.name.endswith("_seconds") or isinstance(
            family, metrics.Gauge
        )
        assert family.text.endswith(".")
        assert set(family.labels) <= {"role", "reason", "route", "status", "destination", "result"}
    quarantined = dict(metrics.QUARANTINED.samples())
    assert {values[0] for values in quarantined} - {metrics.OTHER} == set(Reason)


def test_unknown_labels_are_counted_together() -> None:
    """A label that no configuration has told does not make a new series."""
    before = len(list(metrics.RECEIVED.samples()))
    for number in range(50):
        metrics.RECEIVED.add(f"never told {number}")
    after = dict(metrics.RECEIVED.samples())
    assert len(after) <= before + 1
    assert after[(metrics.OTHER,)][0] >= 50


# ---------------------------------------------------------------------- reload


@pytest.fixture(params=[1, 3])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """A node of one process, and of several."""
    with running_node(tmp_path, **with_operations(processes=request.param)) as running:
        eventually(lambda: ready(running))
        yield running


def reload(node: Node) -> None:
    """Have the node read its configuration as it is now."""
    assert node.config_path
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)


def test_reload_takes_all_of_it(node: Node, tmp_path: Path) -> None:
    """A new route, another port, another folder, from now on; and the log names what is different."""
    images = write_images(tmp_path / "images", 2)
    old_port = node.port
    node.port = free_port()
    node.config["listen"] = [{"address": "127.0.0.1", "port": node.port}]
    node.config["destinations"]["new"] = {"type": "folder", "path": str(tmp_path / "new")}
    node.config["routes"].append(
        {"called_ae_title": "NEW", "project": "new", "pixels": "pass", "destinations": ["new"]}
    )
    reload(node)
    eventually(lambda: node.events("configuration-loaded"))
    settings = {event["setting"] for event in node.events("setting-changed")}
    assert {"listen[0].port", "destinations.new.path", "routes[1].project"} <= settings
    assert eventually(lambda: storescu(node.port, str(images[0]), called="NEW").returncode == 0)
    eventually(lambda: list((tmp_path / "new").rglob("*.dcm")))
    eventually(lambda: is_closed(old_port))
    eventually(lambda: ready(node))
    assert node.end() == 0


def test_reload_with_a_fault_changes_nothing(node: Node, tmp_path: Path) -> None:
    """What is wrong is logged by file, line and setting; the old configuration stays in force, whole."""
    (image,) = write_images(tmp_path / "images", 1)
    generate_key(tmp_path / "other-key")
    good = dict(node.config)
    for fault, said in (
        ({"colour": "blue"}, "colour: unknown key"),
        ({"spool": {"path": str(tmp_path / "elsewhere"), "reserve": 0}}, "spool.path"),
        ({"key": {"file": str(tmp_path / "no-key")}}, "no-key"),
        ({"key": {"file": str(tmp_path / "no-key"), "create": True}}, "only made at a start"),
        ({"key": {"file": str(tmp_path / "other-key")}}, "other-key: is another key"),
        ({"listen": [{"address": "127.0.0.1", "port": node.port}, {"address": "192.0.2.1", "port": 1}]}, "listen: "),
    ):
        node.config = {**good, **fault}
        known = len(node.events("configuration-refused"))
        reload(node)
        while len(refused := node.events("configuration-refused")) == known:
            time.sleep(0.02)
        assert said in refused[-1]["fault"]
        assert storescu(node.port, str(image)).returncode == 0
    assert not node.events("configuration-loaded")
    eventually(lambda: numbers(node).get("scp_anon_reloads_total{result=refused}") == 6)
    assert not (tmp_path / "no-key").exists()


def test_reload_ends_no_association(node: Node, tmp_path: Path) -> None:
    """An association that is open goes on by the configuration that it was accepted by, to its own end."""
    first, second, third = write_images(tmp_path / "images", 3)
    with Requestor(peer(node.port), [CT]) as requestor:
        assert store(requestor, first) == 0
        node.config["routes"][0]["called_ae_title"] = "OTHER"
        reload(node)
        eventually(lambda: node.events("configuration-loaded"))
        # Processes of before accept for a moment longer.
        eventually(lambda: all(rejected(node, AE_TITLE) and not rejected(node, "OTHER") for _ in range(5)))
        assert store(requestor, second) == 0
        with Requestor(peer(node.port, "OTHER"), [CT]) as other:
            assert store(other, third) == 0
    eventually(lambda: len(node.delivered()) == 3)
    eventually(lambda: not rejected(node, "OTHER"))
    assert node.end() == 0


def test_associations_of_before_a_reload_count(node: Node) -> None:
    """For the limit of the new configuration, too, until they end."""
    with Requestor(peer(node.port), [CT]):
        node.config["limits"] = {"associations": 1}
        for count in (1, 2):
            reload(node)
            eventually(partial(has_loaded, node, count))
        eventually(lambda: all(rejected(node, AE_TITLE) for _ in range(10)))
    eventually(lambda: not rejected(node, AE_TITLE))


def test_there_is_one_delivery_however_often_it_is_reloaded(tmp_path: Path) -> None:
    """The next one begins when the first has sent what it has in hand, also if another reload comes in between."""
    going_on = threading.Event()
    asked: list[int] = []

    def answer(number: int, event: evt.Event) -> int:
        asked.append(number)
        going_on.wait(20)
        return 0

    port = free_port()
    with destination(port, answer), running_node(tmp_path, **with_operations(processes=2, **to_peer(port))) as node:
        assert storescu(node.port, *map(str, write_images(tmp_path / "images", 1))).returncode == 0
        eventually(lambda: asked)
        for count in (1, 2, 3):
            reload(node)
            eventually(partial(has_loaded, node, count))
        time.sleep(1)
        assert len([event for event in node.events("process-started") if event["process"] == "delivery"]) == 1
        going_on.set()
        eventually(node.is_at_rest)
        assert asked == [0]
        eventually(lambda: ready(node))


def test_reloads_leave_no_descriptors_behind(node: Node) -> None:
    """Not one more with each."""
    assert node.process is not None
    descriptors = Path(f"/proc/{node.process.pid}/fd")
    counts = []
    for count in range(1, 8):
        reload(node)
        eventually(partial(has_loaded, node, count))
        eventually(lambda: ready(node))
        time.sleep(0.5)
        counts.append(min(how_many(descriptors) for _ in range(10)))  # less those that are open for a moment
    assert max(counts[4:]) <= max(counts[:3]), counts


def test_address_of_operations_that_is_no_more(node: Node) -> None:
    """Nobody holds on to it: not even processes that still have an association."""
    old = node.config["operations"]["port"]
    with Requestor(peer(node.port), [CT]):
        node.config["operations"] = {"port": free_port()}
        reload(node)
        eventually(lambda: ready(node))
        eventually(lambda: is_closed(old), 5)


def test_profile_that_has_changed_is_read_again(node: Node, tmp_path: Path) -> None:
    """Also where the configuration itself is the same."""
    profile = tmp_path / "profile.yaml"
    profile.write_text("base: basic\n")
    node.config["routes"][0]["profile"] = str(profile)
    reload(node)
    eventually(lambda: node.events("configuration-loaded"))
    profile.write_text("rules: [{tag: InstitutionName, action: replace, value: MARK}]\n")
    known = len(node.events("setting-changed"))
    reload(node)
    eventually(lambda: len(node.events("configuration-loaded")) == 2)
    assert [event["setting"] for event in node.events("setting-changed")[known:]] == [f"profile of {AE_TITLE}"]
    assert storescu(node.port, *map(str, write_images(tmp_path / "images", 1))).returncode == 0
    (path,) = eventually(node.delivered)
    assert b"MARK" in path.read_bytes()


def test_reload_under_load_loses_nothing(tmp_path: Path) -> None:
    """Reloads come while associations come and go: every image is acknowledged, and delivered."""
    images = write_images(tmp_path / "images", 60)
    with running_node(tmp_path / "node", **with_operations()) as node:
        for i in range(0, 60, 10):
            reload(node)
            assert storescu(node.port, *map(str, images[i : i + 10])).returncode == 0
        eventually(lambda: len(node.delivered()) == 60 and node.is_at_rest())
        eventually(lambda: len(node.events("configuration-loaded")) > 1)
        assert not node.events("process-died")


# ---------------------------------------------------------------------- the service manager


def test_service_manager_is_told(tmp_path: Path) -> None:
    """Ready when it listens, reloading while it does, and stopping: as systemd wants it of Type=notify."""
    address = tmp_path / "manager"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, pytest.MonkeyPatch.context() as patch:
        manager.bind(str(address))
        manager.settimeout(20)
        patch.setenv("NOTIFY_SOCKET", str(address))
        with running_node(tmp_path / "node") as node:
            assert manager.recv(100) == b"READY=1"
            reload(node)
            before = time.monotonic_ns() // 1000
            state, stamp = manager.recv(100).decode().split("\n")
            assert state == "RELOADING=1"
            assert abs(int(stamp.removeprefix("MONOTONIC_USEC=")) - before) < 20_000_000
            assert manager.recv(100) == b"READY=1"
            assert node.end() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_unit_file(tmp_path: Path) -> None:
    """It is one that systemd has nothing to say of, and it runs what there is."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    text = (ROOT / "config" / "scp-anon.service").read_text(encoding="utf-8")
    executable = tmp_path / "scp-anon"
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    unit = tmp_path / "scp-anon.service"
    unit.write_text(text.replace("/opt/scp-anon/bin/scp-anon", str(executable)), encoding="utf-8")
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "scp-anon" in line]
    assert (done.returncode, ours) == (0, [])
    for line in ("Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert line in text


def test_alerts_name_metrics_that_there_are() -> None:
    """Every expression is of metrics that a node tells, and every alert says what it means and what to do."""
    rules = yaml.safe_load((ROOT / "config" / "alerts.yaml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    known = {family.name for family in metrics.FAMILIES} | {
        "scp_anon_build_info",
        "scp_anon_queue_entries",
        "scp_anon_queue_oldest_age_seconds",
        "scp_anon_quarantine_entries",
        "scp_anon_spool_free_bytes",
        "scp_anon_spool_reserve_bytes",
    }
    for alert in alerts:
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
        assert set(alert["annotations"]) == {"summary", "description"}
        for name in re.findall(r"scp_anon_\w+", alert["expr"]):
            assert name.removesuffix("_total") in known, name
    assert len(alerts) >= 8
