"""The key and the keyed functions: what they give is valid, independent between projects, and never changes."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from scp_anon import Deidentifier
from scp_anon.deid.identity import KEY_BYTES, Identity, generate_key, load_key
from scp_anon.dicom.uids import well_known_uids
from scp_anon.errors import ConfigError
from tests.disk import Disk, Recorder, nothing_of_it

KEY = bytes(range(32))
UIDS = st.from_regex(rb"[1-9][0-9]{0,9}(\.(0|[1-9][0-9]{0,9})){0,4}", fullmatch=True)


# ---------------------------------------------------------------------- the key


def test_new_key(tmp_path: Path) -> None:
    """It is readable by its owner only, whatever the umask, and is never the same twice."""
    paths = [tmp_path / "deep" / "key", tmp_path / "other"]
    umask = os.umask(0)
    try:
        for path in paths:
            generate_key(path)
    finally:
        os.umask(umask)
    keys = [load_key(path) for path in paths]
    assert [len(key) for key in keys] == [KEY_BYTES, KEY_BYTES]
    assert keys[0] != keys[1]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in paths)


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    """With another key the same patient would become another."""
    path = tmp_path / "key"
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="never overwritten"):
        generate_key(path)
    assert path.read_bytes() == b"mine"


def test_key_that_cannot_be_written(tmp_path: Path) -> None:
    """The file and the reason are told."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/file/key: cannot write the key: ")):
        generate_key(tmp_path / "file" / "key")


def test_key_that_does_not_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a key is not left in the way of a whole one."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="cannot write the key: No space left"):
            generate_key(tmp_path / "key")
    generate_key(tmp_path / "key")


def test_key_survives_a_power_loss(tmp_path: Path) -> None:
    """Its name is on stable storage too: another key would make other pseudonyms from then on."""
    disk = Disk(tmp_path)
    with Recorder(disk):
        generate_key(tmp_path / "new" / "keys" / "key")
    assert "new/keys/key" in disk.after_power_loss(nothing_of_it)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (KEY.hex().encode(), KEY),
        (KEY.hex().upper().encode() + b"\n", KEY),
        (b" ".join(KEY[i : i + 8].hex().encode() for i in range(0, 32, 8)) + b"\r\n", KEY),
        (bytes(range(128, 160)), bytes(range(128, 160))),
        (b"thirty-two characters or more ...", b"thirty-two characters or more ..."),
        (KEY.hex().encode() * 3, KEY * 3),
    ],
)
def test_forms_of_a_key(content: bytes, key: bytes, tmp_path: Path) -> None:
    """Hexadecimal digits, with or without blanks between them, or any other bytes as they are."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o400)
    assert load_key(path) == key


@pytest.mark.parametrize("content", [b"", b"\n", b"short", KEY.hex().encode()[:-2], bytes(31), b" " * 100])
def test_short_keys(content: bytes, tmp_path: Path) -> None:
    """Fewer than 32 bytes are no key; 62 hexadecimal digits are 31 bytes, not 62."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="it needs 32 or more"):
        load_key(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o601, 0o777])
def test_keys_that_are_open_to_others(mode: int, tmp_path: Path) -> None:
    """Refused, with what to do."""
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*make it 0600 or 0400"):
        load_key(path)


def test_missing_key(tmp_path: Path) -> None:
    """The message says how to make one."""
    with pytest.raises(ConfigError, match="scp-anon keygen"):
        load_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot read the key: Is a directory"):
        load_key(tmp_path)


def test_engine_takes_no_short_key() -> None:
    """Nor does anything else that is given one."""
    with pytest.raises(ConfigError, match="31 bytes"):
        Identity(bytes(31), "project")
    with pytest.raises(ConfigError, match="0 bytes"):
        Deidentifier(b"")


# ---------------------------------------------------------------------- UIDs


@given(st.binary(min_size=1, max_size=70).filter(lambda uid: uid not in well_known_uids()))
def test_new_uids_are_valid(uid: bytes) -> None:
    """PS3.5 9.1, and B.2: a UUID as a decimal number, of version 8 (RFC 9562)."""
    new = Identity(KEY, "project").uid(uid).decode("ascii")
    assert UID(new).is_valid
    assert len(new) <= 64
    assert new.startswith("2.25.")
    number = int(new[5:])
    assert str(number) == new[5:]
    assert number < 1 << 128
    assert number >> 76 & 0xF == 8
    assert number >> 62 & 0x3 == 2


@given(UIDS, UIDS)
def test_uids_are_a_function(first: bytes, second: bytes) -> None:
    """The same for the same, another for another; never the original; another in another project and by another key."""
    assume(not well_known_uids() & {first, second})
    one, again = Identity(KEY, "one"), Identity(KEY, "one")
    assert one.uid(first) == again.uid(first)
    assert (one.uid(first) == one.uid(second)) == (first == second)
    assert len({first, one.uid(first), Identity(KEY, "two").uid(first), Identity(KEY[::-1], "one").uid(first)}) == 4


def test_well_known_uids_stay() -> None:
    """SOP classes, transfer syntaxes, well-known instances: all that PS3.6 gives a meaning."""
    identity = Identity(KEY, "project")
    assert len(UID_dictionary) > 400
    for uid in UID_dictionary:
        assert identity.uid(uid.encode()) == uid.encode()
    assert identity.uid(b"1.2.840.10008.5.1.4.1.1.2.999") != b"1.2.840.10008.5.1.4.1.1.2.999"


# ---------------------------------------------------------------------- pseudonyms


@given(st.text(min_size=1))
def test_form_of_a_pseudonym(patient: str) -> None:
    """Sixteen capital letters and digits: valid as LO and PN, in every character set, and no path."""
    try:
        pseudonym = Identity(KEY, "project").pseudonym(patient)
    except UnicodeEncodeError:
        assert any("\ud800" <= c <= "\udfff" for c in patient)  # no text that `deid.text` decodes
    else:
        assert re.fullmatch(rb"[A-Z2-7]{16}", pseudonym)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_pseudonyms_are_a_function(first: str, second: str) -> None:
    """The same for the same, another for another, and in another project."""
    one, two = Identity(KEY, "one"), Identity(KEY, "two")
    assert (one.pseudonym(first) == one.pseudonym(second)) == (first == second)
    assert one.pseudonym(first) != two.pseudonym(first)


def test_undecodable_text_stays_apart() -> None:
    """Bytes that no character set defines come as surrogates, and different ones stay different."""
    identity = Identity(KEY, "project")
    names = [bytes([byte]).decode("utf-8", "surrogateescape") for byte in range(128, 256)]
    assert len({identity.pseudonym(name) for name in names}) == 128


# ---------------------------------------------------------------------- for ever


def test_golden_values() -> None:
    """These never change: a study that is continued next year would fall apart. If this fails, it is not the test."""
    identity = Identity(KEY, "trial")
    assert identity.key_id == "1943f31b"
    assert identity.uid(b"1.2.840.113619.2.1.1.1") == b"2.25.247887270933011160321230993143620560440"
    assert identity.uid(b"2.25.1") == b"2.25.154282400402293372337148715685152336963"
    assert identity.pseudonym("id:12345") == b"LEQ52LF7CTU3G222"
    assert identity.pseudonym("name:M\u00fcller^Max") == b"JTVYGZCISQLJE4K5"
    assert Identity(KEY, "").uid(b"2.25.1") == b"2.25.85454176210019821744959878080137917875"
    assert Identity(KEY * 2, "trial").key_id == "0e1fdc0e"


def test_key_id_does_not_depend_on_the_project() -> None:
    """It names the key, and tells nothing of it."""
    assert Identity(KEY, "one").key_id == Identity(KEY, "two").key_id == Deidentifier(KEY, "three").key_id
    assert Identity(KEY, "one").key_id != Identity(KEY[::-1], "one").key_id
    assert Identity(KEY, "one").key_id not in KEY.hex()
