"""docker-compose.yml, the Dockerfile and both sides' configuration agree, and a node and an Orthanc work with them.

There may be no container engine where the tests run, so the compose file is read, and its two services are started as
processes with their very configurations. `make image-test` builds the image for real.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scp_anon import config
from tests import samples
from tests.harness import Node, Orthanc, eventually, running_orthanc, storescu

ROOT = Path(__file__).resolve().parents[1]


def compose() -> dict[str, Any]:
    """The compose file."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


def orthanc_config() -> dict[str, Any]:
    """Orthanc's side; its JSON may hold comments."""
    text = (ROOT / "config" / "orthanc.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return content


def node_config() -> config.Config:
    """The node's side."""
    return config.load(ROOT / "config" / "node.yaml")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_image_runs_as_nobody_special() -> None:
    """The last user is a number other than root's; the base image is an argument; the health check is a C-ECHO."""
    words = dict(instructions())
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", words["USER"])
    assert words["ARG"].startswith("BASE_IMAGE=python:3")
    assert words["FROM"] == "${BASE_IMAGE}"
    check = json.loads(words["HEALTHCHECK"].split("CMD", 1)[1])
    assert check[:3] == ["scp-anon", "echo", "127.0.0.1"]
    assert int(check[3]) == node_config().listen[0].port == int(words["EXPOSE"])
    assert json.loads(words["ENTRYPOINT"]) + json.loads(words["CMD"]) == [
        "scp-anon",
        "serve",
        "-c",
        "/etc/scp-anon/node.yaml",
    ]


def test_both_sides_agree() -> None:
    """Hosts are the services' names, ports and AE titles are those of the other side."""
    services = compose()["services"]
    research = node_config().destinations["research"]
    assert isinstance(research, config.DicomSection)
    orthanc = orthanc_config()
    assert research.host in services
    assert (research.port, research.called_ae_title) == (orthanc["DicomPort"], orthanc["DicomAet"])
    title, host, port = orthanc["DicomModalities"]["scp-anon"]
    assert host in services
    assert port == node_config().listen[0].port
    assert title in {route.called_ae_title for route in node_config().routes}


def test_compose_mounts_what_is_there_and_publishes_what_listens() -> None:
    """Files that are mounted exist; the node's port is published, Orthanc's REST interface to the host alone."""
    services = compose()["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith(".") else source in compose()["volumes"]
    node = services["scp-anon"]
    assert node["ports"] == [f"{node_config().listen[0].port}:{node_config().listen[0].port}"]
    assert node["read_only"]
    assert node["cap_drop"] == ["ALL"]
    assert node["healthcheck"]["test"][1:3] == ["scp-anon", "echo"]
    assert all(port.startswith("127.0.0.1:") for port in services["orthanc"]["ports"])
    state = Path(next(volume.split(":")[1] for volume in node["volumes"] if volume.startswith("state:")))
    settings = node_config()
    folder = settings.destinations["disk"]
    assert isinstance(folder, config.FolderSection)
    assert all(path.is_relative_to(state) for path in (settings.key.file, settings.spool.path, folder.path))
    assert int(node["stop_grace_period"].rstrip("s")) > settings.drain_timeout


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Orthanc]]:
    """The two services as processes, by their own configurations but for hosts, ports and folders."""
    with running_orthanc(tmp_path / "orthanc", config=orthanc_config()) as orthanc:
        node = Node(tmp_path)
        shipped = yaml.safe_load((ROOT / "config" / "node.yaml").read_text(encoding="utf-8"))
        shipped["key"]["file"] = str(tmp_path / "key")
        shipped["spool"]["path"] = str(node.spool)
        shipped["listen"][0].update(address="127.0.0.1", port=node.port)
        shipped["destinations"]["research"].update(host="127.0.0.1", port=orthanc.dicom_port)
        shipped["destinations"]["disk"]["path"] = str(node.out)
        node.config = shipped
        try:
            node.start()
            yield node, orthanc
        finally:
            if node.process is not None:
                node.process.kill()
                node.process.wait()


def test_storescu_through_both(pair: tuple[Node, Orthanc], tmp_path: Path) -> None:
    """What is sent to the node is in Orthanc and in the folder."""
    node, orthanc = pair
    (tmp_path / "image.dcm").write_bytes(samples.encoded(samples.image()))
    assert storescu(node.port, str(tmp_path / "image.dcm")).returncode == 0
    check_arrived(node, orthanc, 1)


def test_orthanc_sends_through_the_node(pair: tuple[Node, Orthanc]) -> None:
    """Orthanc forwards to the modality of its own configuration, and gets the image back as nobody's."""
    node, orthanc = pair
    orthanc.rest("/instances", samples.encoded(samples.image()))
    title = orthanc_config()["DicomModalities"]["scp-anon"][0]
    orthanc.send("scp-anon", "127.0.0.1", node.port, title)
    check_arrived(node, orthanc, 2)


def check_arrived(node: Node, orthanc: Orthanc, count: int) -> None:
    """The folder has one instance, Orthanc has it too, and the canary is in neither of them."""
    eventually(lambda: node.delivered() and node.is_at_rest())
    (path,) = node.delivered()
    stored = orthanc.instances()
    assert len(stored) == count
    assert path.stem in stored
    assert samples.CANARY.encode() not in stored[path.stem]
    assert samples.CANARY.encode() not in path.read_bytes()
