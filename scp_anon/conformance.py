"""A conformance statement in the manner of PS3.2, written from the configuration that the node runs with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scp_anon.config import Config, DicomSection, RouteSection
from scp_anon.deid import ProfileFile, TablePatients, load_profile, with_changes
from scp_anon.deid.explain import as_markdown
from scp_anon.deid.profile import probe
from scp_anon.deid.settings import FixedPatients, SequentialPatients, shipped_pixel_rules
from scp_anon.deid.tables import EDITION, method_codes
from scp_anon.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scp_anon.dicom.uids import storage_sop_classes, transfer_syntaxes
from scp_anon.version import VERSION

_TLS: Final = {"b12": "B.12", "b13": "B.13"}


def statement(config: Config) -> str:
    """The whole statement, in Markdown."""
    return "\n".join((*_overview(config), *_networking(config), *_deidentification(config), *_rest())) + "\n"


def _overview(config: Config) -> Iterator[str]:
    yield f"# DICOM Conformance Statement: scp-anon {VERSION}"
    yield ""
    yield "scp-anon receives composite instances by C-STORE, de-identifies them by PS3.15 Annex E, and stores the"
    yield "results to other application entities by C-STORE or in folders. It keeps originals only until that is done."
    yield ""
    yield "## Implementation model"
    yield ""
    yield f"- Implementation Class UID {IMPLEMENTATION_CLASS_UID}"
    yield f"- Implementation Version Name {IMPLEMENTATION_VERSION_NAME}"
    yield "- Application entities: " + ", ".join(route.called_ae_title for route in config.routes)
    yield ""


def _networking(config: Config) -> Iterator[str]:
    yield "## Networking"
    yield ""
    yield "As acceptor (SCP): Verification 1.2.840.10008.1.1, and Storage of the SOP classes below, in every"
    yield f"transfer syntax below. At most {config.limits.associations} associations at once; no asynchronous"
    yield "operations; maximum PDU 131072. C-STORE status: 0000 when the instance is on stable storage (or its"
    yield "result, where a route has acknowledge: deidentified); A700 when there is no room; A900 when the data set is"
    yield "of another instance than the command; 0124 when a profile refuses it."
    yield "Storage Commitment is not offered: originals are not kept."
    yield ""
    for listen in config.listen:
        tls = (
            f"TLS by PS3.15 {_TLS[listen.tls.profile]}, client certificates {listen.tls.client}"
            if listen.tls
            else "no TLS"
        )
        yield f"- {listen.address}:{listen.port}: {tls}"
    yield ""
    yield "As requestor (SCU): Verification, and Storage of what was received. Destinations:"
    for name, section in config.destinations.items():
        if isinstance(section, DicomSection):
            tls = f"; TLS by PS3.15 {_TLS[section.tls.profile]}" if section.tls else ""
            committing = (
                "; Storage Commitment Push Model 1.2.840.10008.1.20.1 as SCU, with N-EVENT-REPORT on the same"
                " association, or on one that the SCP opens to us in the SCP role"
                if section.commitment == "required"
                else ""
            )
            titles = f"called AE title {section.called_ae_title}, calling {section.calling_ae_title}"
            yield f"- {name}: {titles}{tls}{committing}"
        else:
            yield f"- {name}: a folder"
    yield ""
    yield "| SOP class | UID |"
    yield "|---|---|"
    for uid, name in sorted(storage_sop_classes().items(), key=lambda row: row[1]):
        yield f"| {name} | {uid} |"
    yield ""
    yield "Transfer syntaxes: " + ", ".join(transfer_syntaxes()) + "."
    yield "The transfer syntax is kept, but explicit VR big endian becomes explicit VR little endian."
    yield ""


def _deidentification(config: Config) -> Iterator[str]:
    yield "## De-identification"
    yield ""
    yield f"PS3.15 {EDITION}, Basic Application Level Confidentiality Profile, at every level of nesting."
    yield "File Meta Information and preamble are written anew. What is in no dictionary is removed."
    yield "References keep their integrity across studies, runs and nodes that share key and project: new UIDs and"
    yield "pseudonyms are keyed functions of the original. Nothing is encrypted into the instance."
    for route in config.routes:
        yield ""
        yield from _of_route(route)
    yield ""


def _of_route(route: RouteSection) -> Iterator[str]:
    settings = with_changes(load_profile(route.profile), pixels=route.pixels)
    yield f"### {route.called_ae_title}: project {route.project}"
    yield ""
    codes = [method_codes()[name] for name in ("basic", *settings.options)]
    yield "- Codes that may be claimed, each where it was done, and no rule kept more: " + "; ".join(
        f"{code.value} {code.meaning}" for code in codes
    )
    yield f"- Patients: {_patients(settings)}"
    yield f"- Dates: {_dates(settings)}"
    yield f"- UIDs: {_uids(settings)}"
    yield f"- Text: {_text(settings)}"
    yield f"- Private attributes: {_private(settings)}"
    yield f"- Pixels: {_pixels(settings)}"
    yield "- Added: (0012,0062) YES; (0012,0063) tool, profile and key; (0012,0064) the codes above; (0028,0303)."
    yield ""
    yield as_markdown(probe(settings)).rstrip("\n")


def _patients(settings: ProfileFile) -> str:
    patients = settings.patients
    if isinstance(patients, TablePatients):
        return "pseudonyms from a table; whoever is not in it is held"
    if isinstance(patients, SequentialPatients):
        return "numbers in the order in which patients come, remembered in a file by a keyed hash of Patient ID"
    if isinstance(patients, FixedPatients):
        return "one Patient ID and Patient's Name for all"
    return f"keyed hash (HMAC-SHA-256) of Patient ID, {patients.length} letters and digits"


def _dates(settings: ProfileFile) -> str:
    if "retain-longitudinal-full-dates" in settings.options:
        return "kept as they are"
    if "retain-longitudinal-modified-dates" not in settings.options:
        return "removed, emptied or dummies"
    if settings.dates.days is not None:
        return f"all moved by {settings.dates.days} days; times of day stay"
    if settings.dates.anchor is not None:
        return f"moved so that {settings.dates.anchor} of each instance is {settings.dates.becomes}; times of day stay"
    window = settings.dates.window
    return f"moved by a keyed offset for each patient of 1 to {window} days, earlier or later; times of day stay"


def _uids(settings: ProfileFile) -> str:
    if "retain-uids" in settings.options:
        return "kept"
    if settings.uids.scheme == "mmiv":
        style = "in its old style, with letters, which are not legal" if settings.uids.old_style else "makes them"
        return f"as the mmiv tool {style}: hashes without a key"
    return f"keyed hash (HMAC-SHA-256) under {settings.uids.root}"


def _text(settings: ProfileFile) -> str:
    if "clean-descriptors" not in settings.options:
        return "descriptors are removed, emptied or dummies"
    return (
        "descriptors are cleaned: of the instance's own names, IDs, dates and places; of dates, numbers and titled "
        "names of anybody; and of every word that is not in a vocabulary of clinical and technical words"
    )


def _private(settings: ProfileFile) -> str:
    if "retain-safe-private" not in settings.options:
        return "removed"
    return "those of Table E.3.10-1 and those declared safe in (0008,0300), if numeric or clean text; others removed"


def _pixels(settings: ProfileFile) -> str:
    if settings.pixels == "pass":
        return "not looked at; everything passes"
    held = shipped_pixel_rules() if settings.pixel_rules is None else settings.pixel_rules
    return "not changed; held in quarantine: " + "; ".join(rule.why for rule in held)


def _rest() -> Iterator[str]:
    yield "## Character sets"
    yield ""
    yield "All of PS3.3 C.12.1.1.2; misspelt terms are read and corrected by a fixed table, and an instance with any"
    yield "other is held. New values are ASCII."
    yield ""
    yield "## Security"
    yield ""
    yield "Logs and metrics hold no values of the original. TLS 1.2 and 1.3 with ephemeral keys and authenticated"
    yield "encryption; keys and certificates are PEM files, read again when they change. An integrity failure ends the"
    yield "connection."
