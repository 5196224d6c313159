"""A canary in every place where a patient can be: it comes out of the node nowhere, whatever happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from scp_anon.dicom.part10 import FileMeta, encode_file_meta
from scp_anon.network.association import Context
from scp_anon.network.scu import Peer, Requestor, read_meta
from tests import samples
from tests.harness import AE_TITLE, eventually, running_node, scp_anon
from tests.peers import free_port

CANARY = samples.CANARY
CT = Context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # the canary is no valid value of every VR


def inputs(folder: Path) -> list[Path]:
    """Good files and bad ones, each full of canaries, and with it in their names."""
    good = samples.encoded(samples.image())
    start = samples.data_set_start(good)
    bad_charset = good.replace(b"ISO_IR 100", b"CANARY 100")
    wrong_class = good.replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.99.4.1.1.2\0\0")
    contents = {
        "good": good,
        "implicit": samples.encoded(samples.image("2"), ImplicitVRLittleEndian),
        "encapsulated": samples.encapsulated(samples.image("3")),
        "truncated": good[:-300],
        "rubbish": good[:start] + f"{CANARY}^RUBBISH".encode() * 40,
        "charset": bad_charset,
        "class": wrong_class,
        "vr": good.replace(b"\x08\x00\x60\x00CS\x02\x00CT", b"\x08\x00\x60\x00PN\x02\x00CT"),
        "text": f"name: {CANARY}".encode() * 20,
        "empty": b"",
    }
    folder.mkdir()
    paths = []
    for name, content in contents.items():
        path = folder / f"{CANARY}^{name}.dcm"
        path.write_bytes(content)
        paths.append(path)
    return paths


def store_all(port: int, paths: list[Path]) -> None:
    """Send what can be said of each file, right or wrong."""
    with Requestor(Peer("127.0.0.1", port, AE_TITLE, "SENDER", 10), [CT]) as requestor:
        for path in paths:
            meta = FileMeta(CT.abstract_syntax, samples.uid("instance 1"), CT.transfer_syntax)
            content = path.read_bytes()
            if content[128:132] == b"DICM":
                start = read_meta(path)[1]
                requestor.store(path, meta, start)
        other = paths[0].with_name("other")
        head = encode_file_meta(meta)
        other.write_bytes(head + f"{CANARY}".encode() * 30)
        requestor.store(other, meta, len(head))
        requestor.store(paths[0], meta._replace(sop_instance_uid="1.2.3"), read_meta(paths[0])[1])


CLEANING = """\
options: [clean-descriptors, clean-structured-content, retain-safe-private, retain-longitudinal-modified-dates]
rules:
  - {tag: InstitutionName, action: regex, pattern: "^nothing$", value: "", otherwise: remove}
  - {tag: AccessionNumber, action: hash}
admit: [{when: {StudyDescription: {matches: nothing}}, then: refuse}]
"""


@pytest.mark.parametrize("profile", ["", CLEANING], ids=["basic", "cleaning"])
def test_canary_comes_out_nowhere(tmp_path: Path, profile: str) -> None:
    """Not in what is delivered, logged, listed, shown or printed, at the finest level of the log."""
    paths = inputs(tmp_path / "in")
    destinations = {
        "disk": {"type": "folder", "path": str(tmp_path / "node" / "out")},
        "gone": {"type": "dicom", "host": "127.0.0.1", "port": free_port(), "called_ae_title": "GONE"},
    }
    (tmp_path / "profile.yaml").write_text(profile or "base: basic", encoding="utf-8")
    route = {"called_ae_title": AE_TITLE, "project": "test", "pixels": "pass", "destinations": ["disk", "gone"]}
    routes = [{**route, "profile": str(tmp_path / "profile.yaml")}]
    with running_node(tmp_path / "node", destinations=destinations, routes=routes) as node:
        store_all(node.port, paths)
        eventually(lambda: len(node.in_spool("quarantine")) >= 4 and node.delivered() and node.events("deferred"))
        said = [node.command("quarantine", "list").stdout, node.command("queue", "list").stdout]
        for line in said[0].splitlines():
            shown = node.command("quarantine", "show", line.split()[0])
            said += [shown.stdout, shown.stderr]
        assert node.end() == 0
        places = [node.log_path, *node.delivered(), *node.in_spool("outgoing")]
        names = [path.name for place in ("out", "spool") for path in (node.folder / place).rglob("*")]
    assert len(places) > 3
    for path in places:
        assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in "".join([*said, *names])


def test_values_are_shown_only_when_asked_for(tmp_path: Path) -> None:
    """`quarantine show --show-values` is what an operator needs now and then, and says so by its name."""
    (tmp_path / "image.dcm").write_bytes(samples.encoded(samples.image()).replace(b"ISO_IR 100", b"ISO_IR 999"))
    with running_node(tmp_path / "node") as node:
        with Requestor(Peer("127.0.0.1", node.port, AE_TITLE, "SENDER", 10), [CT]) as requestor:
            assert requestor.store(tmp_path / "image.dcm", *read_meta(tmp_path / "image.dcm")) == 0
        (entry,) = eventually(lambda: node.in_spool("quarantine"))
        identifier = entry.name.split(",")[0]
        plain = node.command("quarantine", "show", identifier).stdout
        values = node.command("quarantine", "show", identifier, "--show-values").stdout
    assert "(0010,0010) PN PatientName" in plain
    assert CANARY not in plain
    assert f"{CANARY}^P" in values


def test_command_line_names_sources_only_in_the_report(tmp_path: Path) -> None:
    """`deid` prints counts and reasons; the report, which was asked for, names the files, and no value of them."""
    inputs(tmp_path / "in")
    report = tmp_path / "report.jsonl"
    done = scp_anon("deid", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--report", str(report), folder=tmp_path)
    assert done.returncode == 1
    assert CANARY not in done.stdout + done.stderr
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 10
    assert all(set(line) == {"source", "status", "output", "reason"} for line in lines)
    assert {line["status"] for line in lines} == {"delivered", "filtered", "quarantined"}
    for line in lines:
        assert CANARY not in json.dumps({**line, "source": ""})
    for path in (tmp_path / "out").rglob("*"):
        assert CANARY not in path.name
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()
