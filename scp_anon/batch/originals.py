"""What is looked up in an original besides what the engine does with it: UIDs for a mapping, tags for the alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from scp_anon.dicom.dictionary import keyword_of, vr_of
from scp_anon.dicom.encoding import scan
from scp_anon.dicom.finding import Buffer, Found, Irregular, Rules
from scp_anon.dicom.normalise import inflate, normalise
from scp_anon.dicom.part10 import read_file_meta
from scp_anon.dicom.uids import TransferSyntax, transfer_syntaxes
from scp_anon.dicom.values import read_values
from scp_anon.errors import Reason

T = TypeVar("T")
KEYWORDS: Final = {0x0020000E: "SeriesInstanceUID", 0x0020000D: "StudyInstanceUID"}
"""The UIDs of which a mapping tells, by tag."""

NO_CREATOR: Final = "private, without a creator"
_LONGEST_CREATOR: Final = 64


class Original:
    """A DICOM file that the engine has read already, so that it can be read: inflated or normalised if it must be."""

    def __init__(self, file: Buffer) -> None:
        """Raises Undecodable or KeyError for what the engine would not have read."""
        meta, start = read_file_meta(file)
        syntax = transfer_syntaxes()[meta.transfer_syntax_uid]
        if syntax.deflated:
            file, start = inflate(memoryview(file)[start:]), 0
        self._buffer: Buffer = file
        self._start = start
        self._syntax = syntax

    def values(self, tags: frozenset[int]) -> Mapping[int, bytes]:
        """Values of top-level attributes. Raises Undecodable."""
        return self._read(lambda buffer, start, syntax: read_values(buffer, start, len(buffer), syntax, tags))

    def tags(self) -> set[str]:
        """The name of every attribute at any depth: tag and keyword, or private creator. Raises Undecodable."""
        return self._read(_tags)

    def _read(self, look: Callable[[Buffer, int, TransferSyntax], T]) -> T:
        try:
            if not self._syntax.little_endian or (len(self._buffer) - self._start) % 2:
                raise Irregular(Reason.MALFORMED)
            return look(self._buffer, self._start, self._syntax)
        except Irregular:
            self._buffer, self._syntax = normalise(memoryview(self._buffer)[self._start :], self._syntax)
            self._start = 0
        try:
            return look(self._buffer, self._start, self._syntax)
        except Irregular as irregular:
            raise irregular.as_undecodable() from None


class _Wanted:
    """Every attribute is wanted; what may be a sequence is looked into."""

    def __init__(self, descends: bool) -> None:
        self.descends = descends


_SEQUENCE: Final = _Wanted(True)
_VALUE: Final = _Wanted(False)


class _All(dict[int, "_Wanted | None"]):
    """The rules for all tags."""

    def get(self, tag: int, default: object = None, /) -> _Wanted:
        """What is wanted of an attribute."""
        return _SEQUENCE if vr_of(tag) in ("SQ", None) else _VALUE


def _rules() -> Rules[_Wanted]:
    rules: Rules[_Wanted] = Rules({}, (), None, None)
    rules.rules = _All()
    return rules


def _tags(buffer: Buffer, start: int, syntax: TransferSyntax) -> set[str]:
    names: set[str] = set()
    _name(scan(buffer, start, len(buffer), syntax, _rules()), buffer, names)
    return names


def _name(found: list[Found[_Wanted]], buffer: Buffer, names: set[str]) -> None:
    """Add the names of what was found in a data set, and in the items of its sequences."""
    creators: dict[int, str] = {}
    for _, tag, _, value, end, sequence in found:
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            creators[tag >> 16 << 8 | tag & 0xFF] = _printable(bytes(buffer[value:end][:_LONGEST_CREATOR]))
        elif tag >> 16 & 1:
            creator = creators.get(tag >> 8)
            names.add(f"({tag >> 16:04X},xx{tag & 0xFF:02X}) {creator or NO_CREATOR}")
        else:
            names.add(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword_of(tag)}".rstrip())
        for item in sequence.items if sequence is not None else ():
            _name(item.found, buffer, names)


def _printable(creator: bytes) -> str:
    text = creator.strip(b" \0").decode("ascii", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)
