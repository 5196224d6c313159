"""Originals at rest: sealed as they are written, whole or not at all, and never on the disk as they came."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scp_anon.deid import Deidentifier, load_key
from scp_anon.dicom.part10 import FileMeta, encode_file_meta
from scp_anon.dicom.skim import LONG_FRAGMENT, LONG_VALUE, long_values
from scp_anon.draft import Draft
from scp_anon.errors import Reason, Undecodable
from scp_anon.network.scu import Requestor
from scp_anon.sealing import CHUNK, HEAD, TAG, Seal, Sealed, is_sealed
from tests import samples
from tests.harness import Node, eventually, running_node, scp_anon
from tests.test_node_faults import CT, peer, store, write_images

KEY = bytes(range(32))
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17]


def sealed_file(path: Path, *parts: bytes, key: bytes = KEY) -> Path:
    """A sealed file of these parts."""
    with Draft(str(path.with_suffix(".tmp")), 0o600, Seal(key)) as draft:
        for part in parts:
            draft.write(part)
        draft.finish()
        draft.move(str(path))
    return path


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    """Opens sealed files, which are closed at the end."""
    descriptors = []

    def open_(path: Path, key: bytes = KEY) -> Sealed:
        descriptors.append(os.open(path, os.O_RDONLY))
        assert is_sealed(descriptors[-1])
        return Seal(key).open(descriptors[-1])

    yield open_
    for descriptor in descriptors:
        os.close(descriptor)


# ---------------------------------------------------------------------- the format


@pytest.mark.parametrize("size", SIZES)
def test_what_is_sealed_comes_out_again(size: int, tmp_path: Path, opened: Any) -> None:
    """By ranges, as a whole, and copied to a file; nothing of it can be read in the sealed file."""
    content = (b"CANARY^PATIENT, " * (size // 16 + 1))[:size]
    sealed = opened(sealed_file(tmp_path / "sealed", content))
    assert sealed.size == size
    assert bytes(sealed.mapped()) == content
    for start, stop in ((0, 1), (0, size), (size // 2, size), (CHUNK - 2, CHUNK + 2), (size, size + 9)):
        assert sealed.read(start, stop) == content[start:stop]
    with (tmp_path / "copy").open("wb") as copy:
        sealed.copy(copy.fileno(), 0, size)
    assert (tmp_path / "copy").read_bytes() == content
    assert b"CANARY" not in (tmp_path / "sealed").read_bytes()


@given(st.lists(st.binary(max_size=3 * CHUNK), max_size=6))
def test_however_it_is_written(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    """In one piece or in many, the content is the same."""
    path = sealed_file(tmp_path_factory.mktemp("sealed") / "sealed", *parts)
    with path.open("rb") as file:
        assert bytes(Seal(KEY).open(file.fileno()).mapped()) == b"".join(parts)


def test_two_files_of_one_content_are_different(tmp_path: Path) -> None:
    """Nobody sees that an instance came twice."""
    first, second = (sealed_file(tmp_path / name, b"the same") for name in ("first", "second"))
    assert first.read_bytes()[HEAD:] != second.read_bytes()[HEAD:]


def damaged(sealed: bytes) -> Iterator[bytes]:
    """A file of three chunks, with something wrong."""
    one = CHUNK + TAG
    chunks = [sealed[HEAD + i * one : HEAD + (i + 1) * one] for i in range(3)]
    for place in (20, HEAD - 1, HEAD, HEAD + one - 1, len(sealed) - 1):
        yield sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
    yield sealed[:HEAD] + chunks[1] + chunks[0] + chunks[2]
    yield sealed[:HEAD] + chunks[0] + chunks[2]
    yield sealed[: HEAD + 2 * one]
    yield sealed[: HEAD + one]
    yield sealed[:HEAD]
    yield sealed[: HEAD - 3]
    yield sealed + chunks[2]
    yield sealed[:-1]


def test_damage_is_noticed(tmp_path: Path) -> None:
    """A bit, a chunk that is moved, left out, or doubled, an end that is cut off: nothing of it is taken for good."""
    whole = sealed_file(tmp_path / "whole", bytes(2 * CHUNK + 100)).read_bytes()
    for number, content in enumerate(damaged(whole)):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with path.open("rb") as file, pytest.raises(Undecodable) as undecodable:
            Seal(KEY).open(file.fileno()).mapped()
        assert undecodable.value.reason == Reason.CANNOT_BE_UNSEALED


def test_another_key(tmp_path: Path, opened: Any) -> None:
    """It is told from damage: with its key the file can be read."""
    path = sealed_file(tmp_path / "sealed", b"content")
    with pytest.raises(Undecodable, match="another key"):
        opened(path, bytes(32))


# ---------------------------------------------------------------------- what need not be read


def large(explicit: bool = True, fragments: bool = False, behind: bool = False) -> tuple[bytes, int]:
    """An image with pixel data of three times the long value, and how many bytes of that there are."""
    pixels = bytes([7]) * (3 * LONG_VALUE)
    ds = samples.image(pixels=2)
    if fragments:
        small = samples.encapsulated(ds)
        at = small.rindex(b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff") + 12
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(pixels)) + pixels
        return small[:at] + b"\xfe\xff\x00\xe0\0\0\0\0" + item + item + b"\xfe\xff\xdd\xe0\0\0\0\0", 2 * len(pixels)
    small = samples.encoded(ds) if explicit else samples.encoded(ds, ImplicitVRLittleEndian)
    content = small[: -2 - 4] + struct.pack("<I", len(pixels)) + pixels
    if behind:
        content += b"\xfc\xff\xfc\xffOB\0\0" * explicit + b"\xfc\xff\xfc\xff" * (not explicit) + struct.pack("<I", 0)
    return content, len(pixels)


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("behind", [True, False])
def test_pixels_are_left_out(explicit: bool, behind: bool) -> None:
    """All of the long value, and nothing else."""
    content, length = large(explicit, behind=behind)
    (found,) = long_values(lambda start, stop: content[start:stop], len(content))
    assert found[1] - found[0] == length
    assert content[found[0] : found[1]] == bytes([7]) * length


def test_fragments_are_left_out() -> None:
    """Each long one, but not their headers."""
    content, length = large(fragments=True)
    found = long_values(lambda start, stop: content[start:stop], len(content))
    assert len(found) == 2
    assert sum(stop - start for start, stop in found) == length


def test_short_fragments_are_left_out() -> None:
    """As slides have them by the thousand: of all that is long enough the headers are left, and no more."""
    head = samples.encoded(samples.image())[:-6]
    small, tile = b"\xfe\xff\x00\xe0" + struct.pack("<I", 100) + bytes(100), bytes([7]) * LONG_FRAGMENT
    tiles = (b"\xfe\xff\x00\xe0" + struct.pack("<I", len(tile)) + tile + small) * 200
    at = head.rindex(b"\xe0\x7f\x10\x00")
    content = head[:at] + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + tiles + b"\xfe\xff\xdd\xe0\0\0\0\0"
    found = long_values(lambda start, stop: content[start:stop], len(content))
    assert [content[start:stop] == tile for start, stop in found] == [True] * 200
    few = content.replace(tiles, tiles[: len(tiles) // 2])
    assert long_values(lambda start, stop: few[start:stop], len(few)) == []  # in one piece, it is not copied as a range


def test_only_what_is_left_out_is_missing(tmp_path: Path, opened: Any) -> None:
    """To the byte, wherever it begins and ends."""
    content = os.urandom(3 * CHUNK + 17)
    sealed = opened(sealed_file(tmp_path / "sealed", content))
    ranges = [(5, 17), (17, CHUNK + 1), (CHUNK + 9, CHUNK + 10), (2 * CHUNK, 3 * CHUNK + 17)]
    expected = bytearray(content)
    for start, stop in ranges:
        expected[start:stop] = bytes(stop - start)
    assert bytes(sealed.mapped(ranges)) == expected
    assert bytes(sealed.mapped()) == content


def test_nothing_is_left_out_where_the_encoding_changes() -> None:
    """The items of UN of undefined length are implicit VR: read otherwise, a value in them can pass for pixels."""
    trap = struct.pack("<HHI", 9, 0x10, 12) + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, LONG_VALUE)
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + trap + b"\xfe\xff\x0d\xe0\0\0\0\0"
    unknown = struct.pack("<HH2sHI", 9, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    text = struct.pack("<HH2sHI", 0x40, 0xA160, b"UT", 0, LONG_VALUE) + b"DOE " * (LONG_VALUE // 4)
    # What is taken for pixels ends where this value begins, and reads like the end of the items.
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    behind = struct.pack("<HH2sHI", 0x41, 0x1001, b"OB", 0, len(end))
    skipped = item[len(item) - 8 :] + b"\xfe\xff\xdd\xe0\0\0\0\0" + text + behind
    unknown = unknown.replace(struct.pack("<I", LONG_VALUE), struct.pack("<I", len(skipped)))
    head = encode_file_meta(FileMeta(CTImageStorage, "1.2.3", ExplicitVRLittleEndian))
    content = head + unknown + text + behind + end
    assert long_values(lambda start, stop: content[start:stop], len(content)) == []


@given(st.data())
def test_what_is_not_understood_is_read(data: st.DataObject) -> None:
    """Any damage leaves nothing out, or what is still the value of pixel data; it never raises."""
    content = bytearray(samples.encoded(samples.image()))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert all(0 <= a <= b for a, b in long_values(lambda start, stop: bytes(content[start:stop]), len(content)))


def test_what_is_left_out_takes_no_memory(tmp_path: Path) -> None:
    """Not even where the system is asked for it: an object may be larger than all memory that there is."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with sealed_file(tmp_path / "sealed", b"x").open("rb") as file:
        sealed = Seal(KEY).open(file.fileno())
        sealed.size = 4 * memory
        assert len(sealed.mapped([(0, sealed.size)])) == sealed.size


# ---------------------------------------------------------------------- the node


def sealing(folder: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a node that seals its originals."""
    return {"spool": {"path": str(folder / "spool"), "reserve": 0, "encrypt": True}, **changes}


def variants(folder: Path) -> dict[str, Path]:
    """Images that take every way into the engine: large ones, which are spilled, and one that has to be normalised."""
    folder.mkdir(parents=True)
    contents = {
        "small": samples.encoded(samples.image("small")),
        "large": _with_uid(_stretched(large()[0]), "large"),
        "fragments": _with_uid(_stretched(large(fragments=True)[0]), "fragments"),
        "implicit": _with_uid(_stretched(large(False)[0]), "implicit"),
        "odd": _with_uid(_stretched(large()[0], missing=1), "odd"),
    }
    for name, content in contents.items():
        (folder / f"{name}.dcm").write_bytes(content)
    return {name: folder / f"{name}.dcm" for name in contents}


def _stretched(content: bytes, missing: int = 0) -> bytes:
    """Beyond what is kept in memory while it is received: as its pixels are all the same, by more of them."""
    mark = bytes([7]) * (3 * LONG_VALUE)
    at = content.index(mark)
    length = struct.pack("<I", len(mark))
    new = struct.pack("<I", 3 * len(mark) - missing)
    assert content[at - 4 : at] == length
    return content[: at - 4] + new + (mark * 3)[missing:] + content[at + len(mark) :]


def _with_uid(content: bytes, name: str) -> bytes:
    """Another instance: its UID is as long as the old one."""
    old, new = samples.uid("instance 1").encode(), samples.uid(f"instance {name}").encode()
    return content.replace(old, new[: len(old)].ljust(len(old), b"1"))


def test_no_original_is_on_the_disk(tmp_path: Path) -> None:
    """Not in incoming, active or quarantine, small or large; what is delivered is the same as without."""
    images = variants(tmp_path / "images")
    (tmp_path / "bad.dcm").write_bytes(samples.encoded(samples.image("bad")).replace(b"ISO_IR 100", b"ISO_IR 999"))
    with running_node(tmp_path / "node", **sealing(tmp_path / "node")) as node:
        for path in (*images.values(), tmp_path / "bad.dcm"):
            done = scp_anon("send", "127.0.0.1", str(node.port), str(path))
            assert done.returncode == 0, done.stderr
        eventually(lambda: len(node.delivered()) == len(images) and node.is_at_rest(), 60)
        (set_aside,) = node.in_spool("quarantine")
        with set_aside.open("rb") as file:
            assert is_sealed(file.fileno())
        assert samples.CANARY.encode() not in set_aside.read_bytes()
        shown = node.command("quarantine", "show", set_aside.name.split(",")[0], "--show-values").stdout
        assert samples.CANARY in shown
        assert node.quarantined()[0][0] == Reason.UNKNOWN_CHARACTER_SET
        engine = engine_of(node)
        expected = {engine.bytes(path.read_bytes()) for path in images.values()}
        assert {path.read_bytes() for path in node.delivered()} == expected


def engine_of(node: Node) -> Deidentifier:
    """The engine that a node has."""
    return Deidentifier(load_key(node.folder / "key"), "test", {"pixels": "pass"})


def test_original_is_read_back_after_a_crash(tmp_path: Path) -> None:
    """Killed with sealed originals in the spool; the next start de-identifies them, also with encryption off."""
    images = variants(tmp_path / "images")
    with running_node(tmp_path / "node", **sealing(tmp_path / "node", processes=1, workers=1)) as node:
        node.end()
        spool = node.spool / "incoming"
        for number, path in enumerate(images.values()):
            name = f"{number + 1:016x}-00000000,SCP_ANON,SENDER,0,0,,,"
            sealed_file(spool / name, path.read_bytes(), key=load_key(node.folder / "key"))
        node.config["spool"]["encrypt"] = False
        node.start()
        eventually(lambda: len(node.delivered()) == len(images) and node.is_at_rest(), 60)
        assert {path.read_bytes() for path in node.delivered()} == {
            engine_of(node).bytes(path.read_bytes()) for path in images.values()
        }


def test_pixels_of_a_large_one_are_not_held(tmp_path: Path) -> None:
    """What a sealed original of hundreds of megabytes costs in memory is its headers."""
    size = 200 << 20
    small = samples.encoded(samples.image(pixels=2))
    source = tmp_path / "large.dcm"
    with source.open("wb") as file:
        file.write(small[: -2 - 4] + struct.pack("<I", size))
        file.truncate(file.tell() + size)
    with running_node(tmp_path / "node", **sealing(tmp_path / "node")) as node:
        with Requestor(peer(node.port), [CT]) as requestor:
            for path in write_images(tmp_path / "images", 3):
                assert store(requestor, path) == 0
        eventually(lambda: len(node.delivered()) == 3)
        before = node.peak_memory()
        with Requestor(peer(node.port), [CT]) as requestor:
            assert store(requestor, source) == 0
        eventually(lambda: len(node.delivered()) == 3 and node.is_at_rest(), 120)
        assert max(path.stat().st_size for path in node.delivered()) > size
        assert node.peak_memory() - before < 64 << 20


def test_key_that_is_another_one(tmp_path: Path) -> None:
    """What cannot be unsealed is set aside, and goes through when the key is back and it is released."""
    with running_node(tmp_path / "node", **sealing(tmp_path / "node")) as node:
        node.end()
        entry = node.spool / "incoming" / "0000000000000001-00000000,SCP_ANON,SENDER,0,0,,,"
        sealed_file(entry, samples.encoded(samples.image()), key=KEY)
        node.start()
        eventually(lambda: node.quarantined() == [(Reason.CANNOT_BE_UNSEALED, "another key")])
        node.end()
        (node.folder / "key").chmod(0o600)
        (node.folder / "key").write_text(KEY.hex())
        node.start()
        assert node.command("quarantine", "release", "--all").returncode == 0
        eventually(node.delivered)
