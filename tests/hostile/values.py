"""Kinds whose values are wrong: other VRs, UIDs, character sets, dates, control characters."""

from __future__ import annotations

from scp_anon.errors import Reason
from tests.hostile import canary
from tests.hostile.canary import VALUE
from tests.hostile.kind import kind
from tests.hostile.source import (
    PATIENT_NAME,
    PIXEL_DATA,
    SHARED_GROUPS,
    SOP_INSTANCE_UID,
    Source,
    element,
    implicit,
    item,
    sequence,
)

NAME = element(PATIENT_NAME, "PN", VALUE)
CHARACTER_SET = 0x00080005
MODALITY = 0x00080060
ROWS = 0x00280010


def named(source: Source, terms: bytes, name: bytes) -> bytes:
    """The file with a Specific Character Set, and a name and a text in it, at the top and in an item."""
    texts = (element(PATIENT_NAME, "PN", name), element(0x00104000, "LT", name))
    own = element(CHARACTER_SET, "CS", terms)
    return source.put(own, *texts, sequence(SHARED_GROUPS, item(own + texts[0]), item(texts[0]))).file()


# ---------------------------------------------------------------------- value representations


@kind(Reason.MALFORMED)
def kept_attribute_as_items(source: Source) -> bytes:
    """Modality, which is kept, as a sequence with a name in it."""
    return source.put(sequence(MODALITY, item(NAME))).file()


@kind()
def kept_attribute_as_un_items(source: Source) -> bytes:
    """Modality as UN of undefined length, with a name in it."""
    content = item(implicit(PATIENT_NAME, VALUE)) + implicit(0xFFFEE0DD, b"")
    return source.put(element(MODALITY, "UN", content, 0xFFFFFFFF)).file()


@kind(Reason.MALFORMED)
def kept_attribute_as_name(source: Source) -> bytes:
    """Modality as a name."""
    return source.put(element(MODALITY, "PN", VALUE)).file()


@kind(Reason.MALFORMED)
def kept_attribute_as_bytes(source: Source) -> bytes:
    """Modality as OB."""
    return source.put(element(MODALITY, "OB", VALUE)).file()


@kind(Reason.MALFORMED)
def text_in_a_number(source: Source) -> bytes:
    """Rows, which is binary, as a text."""
    return source.put(element(ROWS, "LO", VALUE)).file()


@kind(Reason.MALFORMED)
def text_in_a_number_of_an_item(source: Source) -> bytes:
    """The same in an item."""
    return source.put(sequence(SHARED_GROUPS, item(NAME + element(ROWS, "UT", VALUE)))).file()


@kind(Reason.MALFORMED)
def kept_sequence_as_bytes(source: Source) -> bytes:
    """A kept sequence as OB, which cannot be looked into."""
    return source.put(element(SHARED_GROUPS, "OB", item(NAME))).file()


@kind(Reason.MALFORMED)
def kept_sequence_as_text(source: Source) -> bytes:
    """A kept sequence as UT."""
    return source.put(element(SHARED_GROUPS, "UT", VALUE)).file()


@kind(Reason.MALFORMED)
def kept_sequence_as_fragments(source: Source) -> bytes:
    """A kept sequence as OB of undefined length, as pixel data is."""
    content = item(VALUE) + implicit(0xFFFEE0DD, b"")
    return source.put(element(SHARED_GROUPS, "OB", content, 0xFFFFFFFF)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def kept_sequence_of_text_in_implicit_vr(source: Source) -> bytes:
    """A kept sequence whose value is text, in implicit VR."""
    return source.in_implicit_vr().put(implicit(SHARED_GROUPS, VALUE)).file()


@kind()
def name_as_binary(source: Source) -> bytes:
    """Patient's Name as OB, Patient ID as US, and comments as FD."""
    values = ((PATIENT_NAME, "OB"), (0x00100020, "US"), (0x00104000, "FD"))
    return source.put(*(element(tag, vr, VALUE) for tag, vr in values)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def vr_of_two_zeros(source: Source) -> bytes:
    """An element whose VR is two zeros."""
    return source.put(element(PATIENT_NAME, b"\0\0", VALUE)).file()


@kind()
def vr_that_nobody_knows(source: Source) -> bytes:
    """Elements of the VR ZZ: a name, and a private one."""
    return source.put(element(PATIENT_NAME, b"ZZ", VALUE), element(0x00291010, b"ZZ", VALUE)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def vr_in_small_letters(source: Source) -> bytes:
    """A name of the VR pn."""
    return source.put(element(PATIENT_NAME, b"pn", VALUE)).file()


@kind(Reason.MALFORMED, Reason.TRUNCATED)
def vr_of_control_characters(source: Source) -> bytes:
    """A name of a VR that no terminal can show."""
    return source.put(element(PATIENT_NAME, b"\x1b[", VALUE)).file()


@kind(Reason.MALFORMED)
def pixel_data_as_text(source: Source) -> bytes:
    """Pixel data as a text."""
    return source.put(element(PIXEL_DATA, "UT", VALUE)).file()


@kind(Reason.MALFORMED)
def pixel_data_as_items(source: Source) -> bytes:
    """Pixel data as a sequence."""
    return source.put(sequence(PIXEL_DATA, item(NAME))).file()


# ---------------------------------------------------------------------- UIDs


@kind(sent=0xA900)
def instance_uid_with_nul(source: Source) -> bytes:
    """A SOP Instance UID with NUL and a name in it."""
    return source.put(element(SOP_INSTANCE_UID, "UI", b"1.2.3\0CANARY\0\0")).file()


@kind(sent=0xA900)
def instance_uid_as_path(source: Source) -> bytes:
    """A SOP Instance UID that is a path."""
    return source.put(element(SOP_INSTANCE_UID, "UI", b"../../../tmp/CANARY.dcm\0")).file()


@kind(sent=0xA900)
def instance_uid_too_long(source: Source) -> bytes:
    """A SOP Instance UID of 500 characters."""
    return source.put(element(SOP_INSTANCE_UID, "UI", b"1." + b"2" * 490 + b"CANARY  ")).file()


@kind(sent=0xA900)
def instance_uid_of_other_bytes(source: Source) -> bytes:
    """A SOP Instance UID that is not of ASCII."""
    return source.put(element(SOP_INSTANCE_UID, "UI", b"1.2.\xff\xfe\xe4CANARY\0")).file()


@kind(Reason.MALFORMED, sent=0xA900)
def several_instance_uids(source: Source) -> bytes:
    """A SOP Instance UID of two values."""
    return source.put(element(SOP_INSTANCE_UID, "UI", b"1.2.3\\4.5.6\0")).file()


@kind(Reason.MISSING_UID, sent=0xA900)
def instance_uid_of_nothing(source: Source) -> bytes:
    """A SOP Instance UID of NUL and blanks."""
    return source.put(element(SOP_INSTANCE_UID, "UI", b"\0\0  \0\0")).file()


@kind(Reason.MISSING_UID)
def no_instance_uid(source: Source) -> bytes:
    """No SOP Instance UID at all."""
    return source.drop(SOP_INSTANCE_UID).file()


@kind(Reason.UNKNOWN_SOP_CLASS, sent=0xA900)
def class_uid_as_text(source: Source) -> bytes:
    """A SOP Class UID that is a name."""
    return source.put(element(0x00080016, "UI", VALUE)).file()


@kind(Reason.UNKNOWN_SOP_CLASS, sent=0xA900)
def several_class_uids(source: Source) -> bytes:
    """A SOP Class UID of two values."""
    both = b"1.2.840.10008.5.1.4.1.1.2\\1.2.840.10008.5.1.4.1.1.4"
    return source.put(element(0x00080016, "UI", both + b"\0")).file()


@kind()
def uids_of_text(source: Source) -> bytes:
    """UIDs that are names, paths, too long, of no bytes of ASCII, or look like one of DICOM's own."""
    return source.put(
        element(0x0020000D, "UI", b"../../CANARY^PATIENT\0"),
        element(0x0020000E, "UI", b"1.2.840.10008.CANARY"),
        element(0x00200052, "UI", b"1.2.3\0\0CANARY\0"),
        element(0x00083010, "UI", b"\\".join([VALUE, b"\xff\xfe", b"1.2." + b"3" * 200, b""])),
        sequence(0x00081140, item(element(0x00081150, "UI", VALUE) + element(0x00081155, "UI", VALUE))),
    ).file()


# ---------------------------------------------------------------------- character sets


@kind(Reason.UNKNOWN_CHARACTER_SET)
def unknown_character_set(source: Source) -> bytes:
    """A Specific Character Set that the standard does not define."""
    return named(source, b"ISO_IR 999", VALUE)


@kind(Reason.UNKNOWN_CHARACTER_SET)
def character_set_of_another_kind(source: Source) -> bytes:
    """The name of a codec of Python's."""
    return named(source, b"unicode_escape", b"\\u0043\\u0041\\u004e\\u0041\\u0052\\u0059")


@kind(Reason.UNKNOWN_CHARACTER_SET)
def character_set_that_is_a_name(source: Source) -> bytes:
    """A name in place of a character set."""
    return named(source, b"ISO_IR 100\\" + VALUE, VALUE)


@kind(Reason.UNKNOWN_CHARACTER_SET)
def unknown_character_set_in_an_item(source: Source) -> bytes:
    """A character set that is unknown, in an item only."""
    return source.put(sequence(SHARED_GROUPS, item(element(CHARACTER_SET, "CS", b"ISO_IR 999") + NAME))).file()


@kind(Reason.UNKNOWN_CHARACTER_SET)
def character_set_with_nul(source: Source) -> bytes:
    """A known character set with NUL in it."""
    return named(source, b"ISO_IR\000100", VALUE)


@kind()
def mixed_character_sets(source: Source) -> bytes:
    """Japanese, Korean, Greek and Latin in one name, by escape sequences."""
    name = (
        b"CANARY^PATIENT=" + canary.KANJI.encode("iso2022_jp_2") + b"^" + b"\x1b-F" + canary.GREEK.encode("iso8859_7")
    )
    name += b"=\x1b$)C" + canary.KOREAN.encode("euc_kr")
    terms = b"\\ISO 2022 IR 87\\ISO 2022 IR 126\\ISO 2022 IR 149\\ISO 2022 IR 100"
    return named(source, terms, name)


@kind()
def escape_left_open(source: Source) -> bytes:
    """An escape to Kanji from which the name does not return, and which the next component would have to."""
    name = b"CANARY^" + canary.KANJI.encode("iso2022_jp").removesuffix(b"\x1b(B") + b"^CANARY"
    return named(source, b"\\ISO 2022 IR 87", name)


@kind()
def escape_to_nowhere(source: Source) -> bytes:
    """Escape sequences that no character set has, and one that is cut off."""
    return named(source, b"ISO 2022 IR 6\\ISO 2022 IR 100", b"\x1b$ZCANARY\x1b%/I^PATIENT\x1b")


@kind()
def escape_without_its_set(source: Source) -> bytes:
    """An escape to a character set that the data set does not name."""
    return named(source, b"ISO_IR 100", b"CANARY^\x1b$B" + canary.KANJI.encode("iso2022_jp"))


@kind()
def invalid_utf8(source: Source) -> bytes:
    """A name in UTF-8 that is none."""
    return named(source, b"ISO_IR 192", b"\xff\xfeCANARY^\xc3\x28\xed\xa0\x80" + canary.LATIN.encode("latin-1"))


@kind()
def utf8_without_saying_so(source: Source) -> bytes:
    """Names of several writings in UTF-8, where the default repertoire holds."""
    name = "^".join((canary.CYRILLIC, canary.KANJI, canary.ARABIC, canary.NAME)).encode()
    return (
        source.drop(CHARACTER_SET)
        .put(element(PATIENT_NAME, "PN", name), sequence(SHARED_GROUPS, item(element(PATIENT_NAME, "PN", name))))
        .file()
    )


@kind()
def second_bytes_that_look_like_delimiters(source: Source) -> bytes:
    """Chinese whose second bytes are those of backslash, caret and equals sign."""
    name = canary.CHINESE.encode("gb18030") + b"\x81\x5c\x81\x5e" + "誠".encode("gb18030") + b"^CANARY"
    return named(source, b"GB18030", name)


@kind()
def half_a_character(source: Source) -> bytes:
    """A name that ends with the first half of a character."""
    return named(source, b"GB18030", b"CANARY^" + canary.CHINESE.encode("gb18030")[:-1])


@kind()
def overrides_and_invisible_characters(source: Source) -> bytes:
    """A name of UTF-8 with marks that turn the direction, that nobody sees, and beyond the first plane."""
    return named(source, b"ISO_IR 192", "\u202eYRANAC\u202c\u200bCANARY\ufeff^\U0001f426".encode())


# ---------------------------------------------------------------------- dates, numbers and texts


@kind()
def dates_of_nonsense(source: Source) -> bytes:
    """Dates, times and ages that are names, far away, or a million of them."""
    return source.put(
        element(0x00080020, "DA", VALUE),
        element(0x00080021, "DA", b"99999999"),
        element(0x00080022, "DA", b"00000000\\-1"),
        element(0x0008002A, "DT", b"20240230256161.CANARY+9999"),
        element(0x00080030, "TM", VALUE),
        element(0x00080033, "TM", b"999999.999999\\CANARY  "),
        element(0x00080201, "SH", b"+CANARY^"),
        element(0x00100030, "DA", b"CANARY\\" * 1000),
        element(0x00101010, "AS", b"CANARY"),
    ).file()


@kind()
def control_characters(source: Source) -> bytes:
    """Control characters, and escape sequences of a terminal, in texts that identify."""
    text = b"\x1b[31m\x1b]0;CANARY\x07\r\n\0\x08\x7f\x9b2JCANARY^PATIENT\x1b[0"
    tags = ((PATIENT_NAME, "PN"), (0x00100020, "LO"), (0x00080080, "LO"), (0x00104000, "LT"), (0x00081030, "LO"))
    return source.put(*(element(tag, vr, text + b" ") for tag, vr in tags)).file()


@kind()
def formulas_and_markup(source: Source) -> bytes:
    """Texts that a spreadsheet, a browser or a shell would take for its own."""
    texts = (b"=CANARY()", b"<script>CANARY</script>", b"$(CANARY)", b"%nCANARY%s%n", b"'; DROP CANARY; --")
    tags = (0x00100010, 0x00100020, 0x00080080, 0x00080081, 0x00081030)
    return source.put(*(element(tag, "UN", text + b" ") for tag, text in zip(tags, texts, strict=True))).file()


@kind()
def other_patients(source: Source) -> bytes:
    """Other patients' IDs and names, at the top and in items, with and without values."""
    ids = sequence(0x00101002, item(element(0x00100020, "LO", VALUE) + element(0x00100022, "CS", b"TEXT")))
    nested = item(element(PATIENT_NAME, "PN", VALUE) + element(0x00100020, "LO", b"\\" * 100 + VALUE))
    return source.put(element(0x00101000, "LO", VALUE), ids, sequence(SHARED_GROUPS, nested, item())).file()


@kind()
def nobody(source: Source) -> bytes:
    """Neither a Patient ID nor a name at the top, but names in items."""
    source.put(element(PATIENT_NAME, "PN", b""), element(0x00100020, "LO", b"  "))
    return source.put(sequence(SHARED_GROUPS, item(NAME + element(0x00100020, "LO", VALUE)))).file()


@kind()
def claims_of_an_earlier_deidentification(source: Source) -> bytes:
    """An instance that says of itself that it is de-identified, and of its private data that it is safe."""
    safe = (
        element(0x00080301, "US", b"\x29\0") + element(0x00080302, "LO", b"MAKER ") + element(0x00080303, "CS", b"SAFE")
    )
    return source.put(
        sequence(0x00080300, item(safe)),
        element(0x00120062, "CS", b"YES "),
        element(0x00290010, "LO", b"MAKER "),
        element(0x00291001, "LO", VALUE),
    ).file()
