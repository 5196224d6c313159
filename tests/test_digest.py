"""The digest of a profile: the same for rules that do the same, now and next year, another for those that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from scp_anon import Deidentifier
from scp_anon.deid import ProfileFile, load_profile
from scp_anon.deid import digest as module
from scp_anon.deid.digest import decides, digest, said, tables, without_digest
from scp_anon.deid.settings import (
    CharacterSetsSection,
    DatesSection,
    HashedPatients,
    RuleSection,
    previewed,
    shipped_pixel_rules,
)
from scp_anon.documents import Section
from tests import samples

RULE = {"tag": "AccessionNumber", "action": "hash"}
LOOKUP = {"tag": "StudyDescription", "action": "lookup", "file": "names.csv"}
MMIV = {"uids": {"scheme": "mmiv"}}


def of(profile: dict[str, Any] | str) -> str:
    """The digest of a profile."""
    return digest(load_profile(profile))


@pytest.fixture
def _no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what comes with us, whose changes are meant to change every digest."""
    monkeypatch.setattr(module, "decides", lambda settings: "")


GOLDEN: dict[str, tuple[dict[str, Any], str]] = {
    "basic": ({}, "97a8dd88"),
    "options": ({"options": ["retain-uids", "clean-descriptors"]}, "c6ebfc48"),
    "rules": (
        {"rules": [RULE, {"tag": "StudyID", "action": "keep", "when": {"Modality": {"in": ["CT"]}}}]},
        "9a1b046b",
    ),
    "dates": ({"dates": {"anchor": "StudyDate", "becomes": "2000-01-01"}}, "c6b62501"),
    "patients": ({"patients": {"scheme": "fixed", "id": "ANON"}, "uids": {"root": "1.2.3"}}, "57ce1b62"),
    "admitted": ({"modalities": ["CT", "MR"], "pixels": "pass", "hold": ["burned-in"]}, "ad1303d3"),
    "character sets": ({"character_sets": {"absent": "ISO_IR 192", "map": {"X": "ISO_IR 100"}}}, "49e05ba6"),
    "allow-list": ({"base": "allow-list", "rules": [{"tag": "Modality", "action": "keep"}]}, "23089d72"),
}


@pytest.mark.usefixtures("_no_tables")
@pytest.mark.parametrize("name", GOLDEN)
def test_a_digest_stays_what_it_is(name: str) -> None:
    """These were given out. If one changes, every result that was made by such a profile tells of another profile.

    A new setting changes none of them. What our tables say is left out here, as it may change.
    """
    profile, golden = GOLDEN[name]
    assert of(profile) == golden


# The defaults that count as nothing said. Of a default that changes, `_BASELINES` must have the value of before.
DEFAULTS: dict[type[Section], dict[str, Any]] = {
    ProfileFile: {"base": "basic", "options": (), "pixels": "hold", "hold": (), "variables": {}, "modalities": None},
    DatesSection: {"window": None, "days": None, "anchor": None},
    HashedPatients: {"scheme": "hash", "prefix": "", "length": 16, "issuer": False},
    RuleSection: {"all": False, "otherwise": "quarantine", "create": False, "when": None, "length": None},
    CharacterSetsSection: {"absent": None, "map": {}},
}


@pytest.mark.parametrize("section", DEFAULTS)
def test_defaults_stay_what_they_are(section: type[Section]) -> None:
    """Or `_BASELINES` has what they were."""
    for name, value in DEFAULTS[section].items():
        default = section.model_fields[name].get_default(call_default_factory=True)
        assert default == value or module._BASELINES[section.__name__, name] == value, name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"base": "basic"}),
        ({}, {"options": [], "rules": [], "hold": [], "variables": {}, "admit": []}),
        ({}, {"dates": {"window": 365}}),
        ({}, {"dates": {}}),
        ({}, {"patients": {"scheme": "hash", "prefix": "", "length": 16, "issuer": False}}),
        ({}, {"patients": {"scheme": "hash"}}),
        ({}, {"uids": {"scheme": "keyed", "root": "2.25"}}),
        ({}, {"pixels": "hold", "pixel_rules": None, "modalities": None, "vocabulary": None}),
        ({}, {"pixel_rules": [rule.model_dump() for rule in shipped_pixel_rules()]}),
        ({}, {"character_sets": {"map": {}}}),
        ({"pixels": "pass"}, {"pixels": "pass", "pixel_rules": [{"when": {"Modality": "US"}, "why": "text"}]}),
        ({"rules": [RULE]}, {"rules": [{**RULE, "length": 16, "create": False, "all": False}]}),
        ({"dates": {"anchor": "StudyDate"}}, {"dates": {"anchor": "StudyDate", "becomes": "1970-01-01"}}),
        (
            {
                "options": ["retain-uids", "clean-graphics"],
                "modalities": ["CT", "MR"],
                "hold": ["burned-in", "screen-save"],
            },
            {
                "options": ["clean-graphics", "retain-uids"],
                "modalities": ["MR", "CT"],
                "hold": ["screen-save", "burned-in"],
            },
        ),
        (
            {"rules": [{"tag": "StudyID", "action": "keep", "when": {"Modality": "CT", "Rows": 3}}]},
            {"rules": [{"tag": "StudyID", "action": "keep", "when": {"Rows": 3, "Modality": "CT"}}]},
        ),
    ],
)
def test_what_does_the_same_is_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """A default that is said, another order of what has none, and what is never asked."""
    assert of(one) == of(other)


DIFFERENT: tuple[dict[str, Any], ...] = (
    {},
    {"options": ["retain-uids"]},
    {"options": ["retain-safe-private"]},
    {"dates": {"window": 364}},
    {"dates": {"days": 365}},
    {"dates": {"anchor": "StudyDate"}},
    {"dates": {"anchor": "ContentDate"}},
    {"patients": {"scheme": "hash", "prefix": "A"}},
    {"patients": {"scheme": "hash", "length": 12}},
    {"patients": {"scheme": "hash", "issuer": True}},
    {"patients": {"scheme": "fixed", "id": "A"}},
    {"uids": {"root": "1.2.3"}},
    MMIV,
    {**MMIV, "rules": [RULE]},
    {**MMIV, "rules": [{**RULE, "length": 16}]},
    {"rules": [RULE]},
    {"rules": [{**RULE, "length": 8}]},
    {"rules": [{**RULE, "create": True}]},
    {"rules": [{"tag": "StudyID", "action": "keep"}, RULE]},
    {"rules": [RULE, {"tag": "StudyID", "action": "keep"}]},
    {"pixels": "pass"},
    {"pixels": "pass", "hold": ["burned-in"]},
    {"pixel_rules": [{"when": {"Modality": "US"}, "why": "text"}]},
    {"modalities": ["CT"]},
    {"admit": [{"when": {"Modality": "US"}, "then": "filter"}]},
    {"admit": [{"when": {"Modality": "US"}, "then": "quarantine"}]},
    {"character_sets": {"absent": "ISO_IR 192"}},
    {"character_sets": {"map": {"X": "ISO_IR 192"}}},
    {"variables": {"site": "A"}},
    {"variables": {"site": "B"}},
    {"base": "allow-list", "rules": [{"tag": "Modality", "action": "keep"}]},
)


def test_what_does_something_else_is_another() -> None:
    """Each setting counts."""
    assert len({of(profile) for profile in DIFFERENT}) == len(DIFFERENT)


def test_files_count_by_content(tmp_path: Path) -> None:
    """Not by path; a table of patients, and an audit, not at all."""
    digests = []
    for name, words, rows in (("a", "word\n", "1,A"), ("b", "word\n", "2,B"), ("c", "other\n", "1,A")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "words.txt").write_text(words)
        (folder / "patients.csv").write_text(f"id,pseudonym\n{rows}\n")
        (folder / "names.csv").write_text(f"original,new\n{words.strip()},CT\n")
        path = folder / "profile.yaml"
        path.write_text(
            "vocabulary: words.txt\npatients: {scheme: table, file: patients.csv}\naudit: {file: audit.sqlite}\n"
            "rules: [{tag: StudyDescription, action: lookup, file: names.csv, match: equals}]\n"
        )
        digests.append(digest(load_profile(path)))
    assert digests[0] == digests[1] != digests[2]


def test_a_preview_is_the_same_profile(tmp_path: Path) -> None:
    """It only writes no numbers."""
    settings = load_profile({"patients": {"scheme": "sequential", "file": str(tmp_path / "patients")}})
    assert digest(previewed(settings)) == digest(settings)


def test_a_new_setting_changes_nothing() -> None:
    """At the top, or in a section: of whom does not use it the digest stays."""
    newer: Any = create_model(
        "ProfileFile",
        __base__=ProfileFile,
        brand_new=(str, "as before"),
        of_many=(tuple[str, ...], ()),
        section=(CharacterSetsSection, CharacterSetsSection()),
        perhaps=(CharacterSetsSection | None, None),
    )
    profile = {"options": ["retain-uids"], "rules": [RULE], "dates": {"days": 3}}
    before = load_profile(profile)
    after = newer.model_validate(profile)
    assert said(after) == said(before)
    assert digest(after) == digest(before)
    used = newer.model_validate({**profile, "brand_new": "another way"})
    assert digest(used) != digest(before)
    assert digest(newer.model_validate({**profile, "perhaps": {}})) != digest(before)


def test_a_changed_default_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of who has the new one, if the old one is the baseline; who has said the old one is as before."""
    newer: Any = create_model("ProfileFile", __base__=ProfileFile, pixels=(str, "pass"))
    monkeypatch.setattr(module, "_BASELINES", {**module._BASELINES, ("ProfileFile", "pixels"): "hold"})
    assert digest(newer()) == of({"pixels": "pass"}) != of({})
    assert digest(newer(pixels="hold")) == of({})


def test_what_comes_with_us_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table and list that decides; that of safe private attributes only where it is used."""
    plain, private = load_profile({}), load_profile({"options": ["retain-safe-private"]})
    before = digest(plain), digest(private)
    original = module._hash_of
    for name in tables():
        monkeypatch.setattr(module, "_hash_of", lambda each, name=name: original(each) + "x" * (each == name))
        module._shipped.cache_clear()
        assert (digest(plain) != before[0]) is (name != module._SAFE_PRIVATE), name
        assert digest(private) != before[1], name
    monkeypatch.setattr(module, "_hash_of", original)
    monkeypatch.setattr(module, "BY_VR", {})
    module._shipped.cache_clear()
    assert digest(plain) != before[0]
    monkeypatch.undo()
    module._shipped.cache_clear()
    assert (digest(plain), digest(private)) == before
    monkeypatch.setattr(module, "REVISION", module.REVISION + 1)
    assert digest(plain) != before[0]


def test_every_table_of_ours_is_counted() -> None:
    """Whatever folder it is in; rules in YAML are counted as rules, and a shipped profile is one."""
    folder = Path(module.__file__).parent
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    rest = {name for name in found if not name.endswith((".py", ".yaml", "py.typed"))}
    assert rest == set(tables())
    assert {"unlisted.csv", "standard/iod-actions.csv.gz", "words/plain.txt", module._SAFE_PRIVATE} <= rest


def test_shipped_pixel_rules_count() -> None:
    """Those that hold."""
    assert decides(load_profile({})) != decides(load_profile({"pixels": "pass"}))
    assert decides(load_profile({"pixels": "pass", "hold": ["burned-in"]})) != decides(load_profile({"pixels": "pass"}))


def test_it_is_in_the_result() -> None:
    """And in the profile."""
    engine = Deidentifier(samples.KEY, profile="basic")
    assert engine.profile.digest == of("basic")
    assert f"basic {of('basic')}".encode() in engine.bytes(samples.encoded(samples.image()))


@pytest.mark.parametrize(
    ("method", "plain"),
    [
        (b"PS3.15 2026d basic 0a1b2c3d", b"PS3.15 basic"),
        (b"PS3.15 2024b allow-list and rules and functions 0a1b2c3d", b"PS3.15 allow-list and rules and functions"),
        (b"scp-anon 1.0", b"scp-anon 1.0"),
        (b"key 0a1b2c3d", b"key 0a1b2c3d"),
        (b"another", b"another"),
    ],
)
def test_methods_without_digests(method: bytes, plain: bytes) -> None:
    """What is compared with the result of another version."""
    assert without_digest(method) == plain
