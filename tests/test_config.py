"""The configuration: every setting and its default; every fault by file, line and path, with what would be right."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from scp_anon import config
from scp_anon.config import Config, DicomSection, FolderSection
from scp_anon.destinations.layout import DEFAULT
from scp_anon.errors import ConfigError

# Section 9 of the design, to the letter: what people and scripts rely on.
EXAMPLE = """\
key: {file: var/key}
spool: {path: var/spool, reserve: 5GB}
listen: [{address: 127.0.0.1, port: 11112}]
routes:
  - {called_ae_title: SCP_ANON, project: demo, profile: basic, destinations: [disk]}
destinations:
  disk: {type: folder, path: var/deidentified}
  research: {type: dicom, host: orthanc, port: 4242, called_ae_title: ORTHANC, calling_ae_title: SCP_ANON}
"""

# One setting a line, so that each has a line of its own.
LONG = """\
key:
  file: var/key
spool:
  path: var/spool
listen:
  - port: 104
  - address: "::1"
routes:
  - called_ae_title: ONE
    project: one
    destinations: [disk]
  - called_ae_title: TWO
    project: two
    destinations:
      - disk
      - peer
destinations:
  disk:
    type: folder
    path: out
  peer:
    type: dicom
    host: pacs
    port: 104
    called_ae_title: PACS
"""

# Nodes that are there twice in each that follows.
DOUBLED = "".join(f", &a{number + 1} [*a{number}, *a{number}]" for number in range(40))


def faults(text: str) -> list[str]:
    """The lines of the error that a configuration gives."""
    with pytest.raises(ConfigError) as error:
        config.parse(text, "node.yaml")
    return str(error.value).splitlines()


def fault(text: str) -> str:
    """The only line of it."""
    (line,) = faults(text)
    return line


def changed(old: str, new: str) -> str:
    """The long example with one change."""
    assert LONG.count(old) == 1, old
    return LONG.replace(old, new)


# ---------------------------------------------------------------------- what is good


def test_example_of_the_design() -> None:
    """Every value arrives where it belongs; the rest has its default."""
    settings = config.parse(EXAMPLE, "node.yaml")
    assert settings.key.file == Path("var/key")
    assert not settings.key.create
    assert (settings.spool.path, settings.spool.reserve, settings.spool.fsync) == (Path("var/spool"), 5 * 10**9, True)
    assert [(listen.address, listen.port) for listen in settings.listen] == [("127.0.0.1", 11112)]
    (route,) = settings.routes
    assert route.model_dump() == {
        "called_ae_title": "SCP_ANON",
        "project": "demo",
        "calling_ae_titles": None,
        "profile": "basic",
        "pixels": None,
        "acknowledge": "committed",
        "verify": "none",
        "destinations": ["disk"],
    }
    disk, research = settings.destinations["disk"], settings.destinations["research"]
    assert isinstance(disk, FolderSection)
    assert (disk.path, disk.layout) == (Path("var/deidentified"), DEFAULT)
    assert isinstance(research, DicomSection)
    assert research.model_dump() == {
        "type": "dicom",
        "host": "orthanc",
        "port": 4242,
        "called_ae_title": "ORTHANC",
        "calling_ae_title": "SCP_ANON",
        "timeout": 60.0,
        "associations": 1,
        "commitment": "none",
        "commitment_timeout": 3600.0,
        "tls": None,
    }


def test_defaults() -> None:
    """What is not said; these are promises too."""
    settings = config.parse(LONG, "node.yaml")
    assert settings.spool.reserve == 5 * 10**9
    assert [(listen.address, listen.port) for listen in settings.listen] == [("127.0.0.1", 104), ("::1", 11112)]
    assert settings.limits.model_dump() == {
        "associations": 64,
        "per_address": 32,
        "object_size": 16 * 10**9,
        "handshake_timeout": 30,
        "idle_timeout": 300,
        "minimum_rate": 1000,
        "association_age": 86400,
    }
    assert settings.retry.model_dump() == {"first": 30, "limit": 3600}
    assert settings.log.level == "info"
    assert settings.workers == os.cpu_count()
    assert settings.drain_timeout == 25


def test_embedded_default_is_the_design() -> None:
    """`make serve`: 127.0.0.1:11112, SCP_ANON, basic, key made on the first start, output to var/deidentified."""
    settings = config.load(None)
    assert settings.key.file == Path("var/key")
    assert settings.key.create
    assert [(listen.address, listen.port) for listen in settings.listen] == [("127.0.0.1", 11112)]
    (route,) = settings.routes
    assert (route.called_ae_title, route.profile, route.destinations) == ("SCP_ANON", "basic", ["disk"])
    disk = settings.destinations["disk"]
    assert isinstance(disk, FolderSection)
    assert disk.path == Path("var/deidentified")


def test_paths_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the file itself is."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "node.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert config.load(Path("elsewhere/node.yaml")).spool.path == Path("var/spool")


def test_sections_are_frozen() -> None:
    """Nobody changes a setting of a node that runs."""
    settings = config.parse(EXAMPLE, "node.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.spool.reserve = 1


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0),
        ("5000", 5000),
        ("1KB", 1000),
        ("5GB", 5 * 10**9),
        ("5 gb", 5 * 10**9),
        ("1.5GB", 1_500_000_000),
        ("512MiB", 512 << 20),
        ("2TiB", 2 << 40),
        ("3MB", 3 * 10**6),
        ("1TB", 10**12),
        ("4KiB", 4096),
        ("1GiB", 1 << 30),
    ],
)
def test_sizes(written: str, size: int) -> None:
    """Numbers of bytes, or with a unit."""
    settings = config.parse(changed("path: var/spool", f"path: var/spool\n  reserve: {written}"), "node.yaml")
    assert settings.spool.reserve == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30", 30), ("0.5", 0.5), ("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("2d", 172800)],
)
def test_durations(written: str, seconds: float) -> None:
    """Seconds, or with a unit."""
    assert config.parse(f"{LONG}drain_timeout: {written}\n", "node.yaml").drain_timeout == seconds


@pytest.mark.parametrize("title", ["A", "SCP_ANON", "CT SCANNER 1", "1234567890123456", "A-B.C/D"])
def test_ae_titles(title: str) -> None:
    """One to sixteen characters; blanks around it mean nothing."""
    settings = config.parse(changed("called_ae_title: ONE", f"called_ae_title: '  {title} '"), "node.yaml")
    assert settings.routes[0].called_ae_title == title


# ---------------------------------------------------------------------- what is not


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            changed("path: var/spool", "path: var/spool\n  resreve: 5GB"),
            "5: spool.resreve: unknown key; did you mean reserve?",
        ),
        (changed("listen:", "lissten:"), "5: lissten: unknown key; did you mean listen?"),
        (
            changed("    host: pacs", "    host: pacs\n    hots: x"),
            "24: destinations.peer.hots: unknown key; did you mean host?",
        ),
        (
            changed("    project: two", "    project: two\n    porject: x"),
            "14: routes.1.porject: unknown key; did you mean project?",
        ),
        (changed("    path: out", "    path: out\n    host: x"), "21: destinations.disk.host: unknown key; "),
        (
            f"{LONG}limits: {{associations: 5, colour: 1}}\n",
            "26: limits.colour: unknown key; known here: associations, ",
        ),
        (f"{LONG}zzzz: 1\n", "26: zzzz: unknown key; known here: key, spool, "),
    ],
)
def test_unknown_keys(text: str, said: str) -> None:
    """By file, line and path, with what was meant, or what there is."""
    assert any(line.startswith(f"node.yaml:{said}") for line in faults(text))


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("    host: pacs\n", "21: destinations.peer.host: is missing"),
        ("    project: two\n", "12: routes.1.project: is missing"),
        ("key:\n  file: var/key\n", "1: key: is missing"),
        ("    type: folder\n", "18: destinations.disk"),
    ],
)
def test_missing_keys(old: str, said: str) -> None:
    """The line is that of the section that it is missing from."""
    assert fault(changed(old, "")).startswith(f"node.yaml:{said}")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("port: 104\n  -", "port: high\n  -", "6: listen.0.port: "),
        ("port: 104\n  -", "port: 70000\n  -", "6: listen.0.port: "),
        ("port: 104\n  -", "port: -1\n  -", "6: listen.0.port: "),
        ("    port: 104\n    called", "    port: [104]\n    called", "24: destinations.peer.port: "),
        ("  path: var/spool", "  path: var/spool\n  reserve: lots", "5: spool.reserve: must be a size such as 5GB"),
        ("  path: var/spool", "  path: var/spool\n  reserve: -5", "5: spool.reserve: must be a size such as 5GB"),
        ("  path: var/spool", "  path: var/spool\n  reserve: true", "5: spool.reserve: must be a size such as 5GB"),
        ("  path: var/spool", "  path: var/spool\n  reserve: [5]", "5: spool.reserve: must be a size such as 5GB"),
        (
            "  path: var/spool",
            "  path: var/spool\n  reserve: 5 parsecs",
            "5: spool.reserve: must be a size such as 5GB",
        ),
        (
            "    host: pacs",
            "    host: pacs\n    timeout: soon",
            "24: destinations.peer.timeout: must be a time such as 30s",
        ),
        ("    host: pacs", "    host: pacs\n    timeout: 0", "24: destinations.peer.timeout: "),
        (
            "    path: out",
            "    path: out\n    layout: '{Nonsense}'",
            "21: destinations.disk.layout: layout: {Nonsense}",
        ),
        (
            "    path: out",
            "    path: out\n    layout: '{PatientID}'",
            "21: destinations.disk.layout: layout: without {SOPInstanceUID}",
        ),
        ("    path: out", "    path: out\n    layout: '/{SOPInstanceUID}'", "21: destinations.disk.layout: "),
        (
            "    project: two",
            "    project: two\n    profile: secret",
            "14: routes.1.profile: there is no profile secret: name basic, mmiv, or a profile file",
        ),
        ("    destinations: [disk]", "    destinations: []", "11: routes.0.destinations: "),
        ("    destinations: [disk]", "    destinations: disk", "11: routes.0.destinations: "),
        ("    project: two", "    project: [two]", "13: routes.1.project: "),
        ("    type: folder", "    type: floppy", "18: destinations.disk: "),
        ("  disk:\n", "  .disk:\n", "18: destinations..disk"),
        ("  file: var/key", "  file: 5", "2: key.file: "),
        ("  file: var/key", "  file:", "2: key.file: "),
        ("  file: var/key", "  file: var/key\n  create: perhaps", "3: key.create: "),
    ],
)
def test_wrong_values(old: str, new: str, said: str) -> None:
    """By file, line and path."""
    assert any(line.startswith(f"node.yaml:{said}") for line in faults(changed(old, new))), faults(changed(old, new))


@pytest.mark.parametrize("title", ["''", "'   '", "SEVENTEEN_LETTERS", "B\\ACKSLASH", "ÄRZTE", '"BEL\\a"', "12345"])
def test_ae_titles_that_are_none(title: str) -> None:
    """Neither empty nor longer than 16, nor with what an AE title cannot hold; a number needs its quotes."""
    said = fault(changed("called_ae_title: ONE", f"called_ae_title: {title}"))
    assert said.startswith("node.yaml:9: routes.0.called_ae_title: ")


@pytest.mark.parametrize(
    "section",
    ["limits: {associations: 0}", "workers: 0", "log: {level: loud}", "retry: {first: 0}", "listen: []", "routes: []"],
)
def test_values_out_of_bounds(section: str) -> None:
    """Zero associations or workers would be a node that does nothing."""
    name = section.partition(":")[0]
    document = {**yaml.safe_load(EXAMPLE), **yaml.safe_load(section)}
    (line,) = faults(yaml.safe_dump(document, sort_keys=False))
    assert re.match(rf"node\.yaml:\d+: {name}", line)


def test_references() -> None:
    """A route to nowhere, two routes for one AE title: where, and what there is."""
    assert fault(changed("      - peer", "      - pier")) == (
        "node.yaml:16: routes.1.destinations.1: there is no destination 'pier'; there is: disk, peer"
    )
    assert fault(changed("called_ae_title: TWO", "called_ae_title: ' ONE '")) == (
        "node.yaml:12: routes.1.called_ae_title: another route has the AE title ONE"
    )


def test_several_faults_at_once() -> None:
    """Each has its line, as nobody wants to run `check` five times; but of very many only the first."""
    text = changed("port: 104\n  -", "port: x\n  -").replace("project: two", "projekt: two").replace("host: pacs", "")
    lines = faults(text)
    assert len(lines) == 4
    assert all(line.startswith("node.yaml:") for line in lines)
    many = faults("".join(f"unknown{number}: 1\n" for number in range(20_000)))
    assert (len(many), many[-1].endswith(" faults more")) == (101, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LONG}workers: 1\nworkers: 2\n", "node.yaml:27: workers: is there twice"),
        (changed("    host: pacs", "    host: pacs\n    host: other"), "node.yaml:24: host: is there twice"),
        (f"{LONG}? [1, 2]\n: 3\n", "node.yaml:26"),
        (f"? [&a0 [x]{DOUBLED}]\n: 1\n", "node.yaml:1: a key must be a word"),
        (
            changed("path: var/spool", "path: &here var/spool").replace("path: out", "path: *here"),
            "node.yaml:4: anchors",
        ),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "node.yaml:1: anchors"),
        ("key: [", "node.yaml:1: not YAML: "),
        ("key:\n\tfile: x\n", "node.yaml:2: not YAML: "),
        ("a: 1\n---\nb: 2\n", "node.yaml:2: not YAML: "),
        ("a: !!python/object/apply:os.system [id]\n", "node.yaml:1: not YAML: "),
        ("a: \x07\n", "node.yaml:1: not YAML"),
        ("[" * 5000, "node.yaml:1: not YAML"),
        ("drain_timeout: 2024-13-45\n", "node.yaml:1: not YAML"),
        ("workers: " + "9" * 5000, "node.yaml:1: not YAML"),
        ("workers: " + ":".join(["59"] * 300_000), "node.yaml:1: not YAML: no number is that long"),
        ("", "node.yaml:1: must be a mapping with the keys key, spool"),
        ("- a\n- b\n", "node.yaml:1: must be a mapping"),
        ("just text", "node.yaml:1: must be a mapping"),
        ("# " + "x" * (1 << 20), "node.yaml: larger than a configuration can be"),
    ],
)
def test_no_configuration_at_all(text: str, said: str) -> None:
    """Keys that are there twice, anchors, what is no YAML or no mapping, or far too much of it; told at once."""
    begin = time.process_time()
    assert fault(text).startswith(said)
    assert time.process_time() - begin < 30  # of this process alone, whatever else the machine does


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8: the file is named."""
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/missing: cannot be read: No such file")):
        config.load(tmp_path / "missing")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)
    (tmp_path / "latin").write_bytes("project: Köln".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read: not UTF-8"):
        config.load(tmp_path / "latin")
    with pytest.raises(ConfigError, match="/dev/zero: larger than any such file can be"):
        config.load(Path("/dev/zero"))


def every_value(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values in a document."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, value in inner for found in [(*path, key), *every_value(value, (*path, key))]]


@pytest.mark.parametrize("wrong", [None, [], {}, {"x": 1}, [[1]], -1, "\0", True, 1e300], ids=repr)
def test_anything_anywhere(wrong: Any) -> None:
    """Whatever stands in place of a value: a configuration, or faults with file, line and text; no traceback."""
    full = {**yaml.safe_load(LONG), "limits": {"associations": 1}, "retry": {"first": 1}, "workers": 1}
    for path in every_value(full):
        document: Any = yaml.safe_load(yaml.safe_dump(full))
        inner = document
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = wrong
        try:
            assert isinstance(config.parse(yaml.safe_dump(document), "node.yaml"), Config)
        except ConfigError as error:
            assert all(re.match(r"node\.yaml:\d+: .", line) for line in str(error).splitlines()), path
