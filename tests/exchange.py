"""Rules of earlier tools, and what is imported of them."""

from __future__ import annotations

from pathlib import Path

from scp_anon.exchange import Imported, import_rules

DATA = Path(__file__).parent / "data" / "exchange"
FILES = {
    "mmiv": "mmiv-rules.json",
    "kitware": "kitware-dictionary.json",
    "kitware-extra": "kitware-extra.json",
    "dicom-anon": "dicom-anon-spec.dat",
    "dicom-anon-white-list": "dicom-anon-white-list.json",
    "dicom-pseudon": "dicom-pseudon-white-list.csv",
    "ctp": "ctp.script",
}
PRIVATE = "private: with us it needs its creator (private: CREATOR); without a rule it is removed"
OURS = "what becomes of it is not up to rules with us: scp-anon itself says it in every result"
META = "File Meta Information is written anew with us, whatever it was"
SHIFT = {"action": "shift-date", "otherwise": "empty"}
PSEUDONYM = [
    {"tag": "PatientID", "action": "pseudonym"},
    {"tag": "PatientName", "action": "replace", "value": "{PatientID}"},
]


def imported(kind: str, name: str = "") -> Imported:
    """The result for a sample file."""
    return import_rules(kind, DATA / (name or FILES[kind]))


def of(kind: str, text: str, folder: Path) -> Imported:
    """The result for a file with this text."""
    path = folder / "rules"
    path.write_text(text, encoding="utf-8")
    return import_rules(kind, path)


def script(elements: str, folder: Path) -> Imported:
    """The result for a script of CTP with these elements."""
    return of("ctp", f"<script>{elements}</script>", folder)


def rules_of(result: Imported) -> list[dict[str, object]]:
    """The rules of a profile."""
    rules = result.profile["rules"]
    assert isinstance(rules, list)
    return rules


def without_rules(result: Imported) -> dict[str, object]:
    """The rest of a profile."""
    return {key: value for key, value in result.profile.items() if key != "rules"}


def told(result: Imported, *parts: str) -> bool:
    """Whether there is one note that has all of these parts."""
    return any(all(part in note for part in parts) for note in result.notes)
