"""Profiles that cannot be meant: each fault is told by file, line and rule, and nothing starts with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scp_anon import ConfigError
from scp_anon.deid import ProfileFile, load_profile, with_changes
from tests import samples
from tests.deid import deid
from tests.harness import scp_anon
from tests.profiles import OPTIONS, engine

GOOD = """\
base: basic
options: [clean-descriptors, retain-longitudinal-modified-dates]
dates: {window: 30}
patients: {scheme: hash, prefix: "CT-", length: 12}
rules:
  - {tag: InstitutionName, action: replace, value: "{project}"}
  - {tag: StudyDescription, when: {Modality: {in: [CT, MR]}}, action: keep}
  - {tag: "(60xx,4000)", action: remove}
  - {private: "SIEMENS CSA HEADER", group: "0029", element: "10", action: keep}
modalities: [CT, MR]
"""


def faults(folder: Path, text: str) -> list[str]:
    """What is said of a profile file."""
    path = folder / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_profile(path)
    return [line.removeprefix(f"{path}:") for line in str(raised.value).splitlines()]


def test_good_profile(tmp_path: Path) -> None:
    """It loads, and everything is where it belongs."""
    path = tmp_path / "profile.yaml"
    path.write_text(GOOD, encoding="utf-8")
    profile = load_profile(path)
    assert profile.options == ("clean-descriptors", "retain-longitudinal-modified-dates")
    assert len(profile.rules) == 4
    assert engine(**profile.model_dump(exclude_unset=True)).key_id
    assert scp_anon("lint", str(path)).stdout == f"{path}: 4 rules, 2 options: nothing wrong\n"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{tag: InstitutionNam, action: keep}", "tag: unknown keyword InstitutionNam; did you mean InstitutionName?"),
        ('{tag: "(0008,9999)", action: keep}', "tag: (0008,9999) is no attribute of the dictionary"),
        ('{tag: "(0009,1001)", action: keep}', "tag: (0009,1001) is private: name it by its creator"),
        ('{tag: "(07xx,xxxx)", action: keep}', "tag: (07xx,xxxx) matches no attribute"),
        ("{tag: Modality/Manufacturer, action: keep}", "tag: Modality is no sequence"),
        ("{tag: Manufacturer, vr: LO, action: keep}", "must have one target"),
        ("{action: keep}", "must have one target"),
        ("{tag: Manufacturer, action: kep}", "action: Input should be"),
        ("{tag: Manufacturer, action: keep, valu: x}", "valu: unknown key; did you mean value?"),
        ("{tag: Manufacturer, action: keep, value: x}", "value: the action keep has no value"),
        ("{tag: Manufacturer, action: replace}", "action: the action replace needs value"),
        ("{tag: Manufacturer, action: regex, pattern: x}", "action: the action regex needs value"),
        ("{tag: Manufacturer, action: regex, pattern: '(', value: x}", "pattern: is no regular expression"),
        ("{tag: Manufacturer, action: regex, pattern: x, value: '\\2'}", "value: invalid group reference"),
        ("{tag: Manufacturer, action: keep, otherwise: remove}", "otherwise: the action keep can always be applied"),
        (
            "{tag: Manufacturer, action: replace, value: x, otherwise: remove}",
            "otherwise: the action replace can always be applied",
        ),
        ("{tag: Manufacturer, action: keep, create: true}", "create: only dummy"),
        ("{tag: Manufacturer, action: shift-date}", "action: shift-date does not fit Manufacturer, which is of VR LO"),
        ("{tag: StudyDate, action: uid}", "action: uid does not fit StudyDate"),
        ("{tag: StudyDate, action: replace, value: today}", "value: is none of VR DA"),
        ("{tag: Modality, action: replace, value: lower}", "value: is none of VR CS"),
        ("{tag: AccessionNumber, action: replace, value: '12345678901234567'}", "value: longer than the 16 characters"),
        ("{tag: Manufacturer, action: replace, value: 'Ä'}", "value: must be printable ASCII"),
        ("{tag: Manufacturer, action: replace, value: '{who}'}", "value: there is no variable who"),
        ("{tag: Manufacturer, action: replace, value: '{'}", "value: Single"),
        ("{tag: Rows, action: hash}", "action: hash does not fit Rows"),
        ("{vr: XX, action: remove}", "vr: no attribute has the VR XX"),
        ("{vr: SQ, action: dummy}", "there is no dummy for an attribute of VR SQ"),
        ("{vr: UI, action: dummy}", "vr: SOPInstanceUID must stay unique"),
        ("{tag: SOPInstanceUID, action: remove}", "tag: SOPInstanceUID must stay unique"),
        ("{tag: PatientIdentityRemoved, action: remove}", "tag: PatientIdentityRemoved is written by scp-anon itself"),
        ("{private: A, action: hash}", "action: needs to know the VR"),
        ("{tag: Manufacturer, element: '10', action: keep}", "group and element are of private attributes"),
        ("{tag: Manufacturer, action: lookup, file: missing.csv}", "missing.csv: cannot be read"),
        (
            "{tag: Manufacturer, action: lookup, file: missing.csv, match: like}",
            "match: Input should be 'equals', 'word'",
        ),
        ("{tag: Manufacturer, action: keep, match: word}", "match: the action keep has no match"),
        ("{tag: Manufacturer, action: keep, when: {}}", "when: when: has no condition"),
        (
            "{tag: Manufacturer, action: keep, when: {Modalty: CT}}",
            "when: unknown keyword Modalty; did you mean Modality?",
        ),
        ("{tag: Manufacturer, action: keep, when: {Modality: {is: CT}}}", "when: Modality: unknown test is"),
        ("{tag: Manufacturer, action: keep, when: {Modality: {in: []}}}", "when: Modality: in: must be a list"),
        (
            "{tag: Manufacturer, action: keep, when: {Modality: {matches: '['}}}",
            "when: Modality: matches: is no regular",
        ),
        (
            "{tag: Manufacturer, action: keep, when: {Modality: {less: 3}}}",
            "when: Modality: less: its values are no numbers",
        ),
        ("{tag: Manufacturer, action: keep, when: {Rows: {less: a}}}", "when: Rows: less: must be a number"),
        ("{tag: Manufacturer, action: keep, when: {Rows: {exists: 1}}}", "when: Rows: exists: must be true or false"),
        ("{tag: Manufacturer, action: keep, when: {any: []}}", "when: any: must be a list"),
        ("{tag: Manufacturer, action: keep, when: {not: CT}}", "when: not: must be a condition"),
        # what nothing can meet
        ("{tag: Manufacturer, action: keep, when: {Modality: ct}}", "when: Modality: equals: nothing of VR CS"),
        (
            "{tag: Manufacturer, action: keep, when: {all: [{Modality: CT}, {Modality: MR}]}}",
            "when: Modality: cannot have two",
        ),
        ("{tag: Manufacturer, action: keep, when: {Rows: {less: 3, greater: 5}}}", "when: Rows: no number is both"),
        (
            "{tag: Manufacturer, action: keep, when: {Rows: {exists: false, equals: 5}}}",
            "when: Rows: cannot be absent and",
        ),
        # what never decides
        (
            "{tag: RequestAttributesSequence/ScheduledProcedureStepID, action: keep}",
            "never decides: RequestAttributesSequence is not",
        ),
        ('{tag: "(0004,1500)", action: keep}', "tag: never decides: groups below 0008"),
    ],
)
def test_faults_of_rules(tmp_path: Path, rule: str, said: str) -> None:
    """By line, and by the place in the rule."""
    found = faults(tmp_path, f"rules:\n  - {{tag: Rows, action: keep}}\n  - {rule}\n")
    assert any(line.startswith("3: rules.1") and said in line for line in found), found


@pytest.mark.parametrize(
    ("first", "second", "is_shadowed"),
    [
        ("{tag: StudyDate, action: keep}", "{tag: StudyDate, action: empty}", True),
        ("{vr: DA, action: keep}", "{tag: StudyDate, action: empty}", True),
        ("{tag: StudyDate, action: keep}", "{vr: DA, action: empty}", False),
        ("{tag: StudyDate, action: keep, when: {Modality: CT}}", "{tag: StudyDate, action: empty}", False),
        (
            "{tag: StudyDate, action: keep, when: {Modality: CT}}",
            "{tag: StudyDate, action: empty, when: {Modality: CT}}",
            True,
        ),
        ("{tag: /StudyDate, action: keep}", "{tag: StudyDate, action: empty}", False),
        ("{tag: StudyDate, action: keep}", "{tag: /StudyDate, action: empty}", True),
        ("{tag: SharedFunctionalGroupsSequence/StudyDate, action: keep}", "{tag: StudyDate, action: empty}", False),
    ],
)
def test_shadowed_rules(tmp_path: Path, first: str, second: str, is_shadowed: bool) -> None:
    """A rule that those before it leave nothing to is a mistake."""
    text = f"rules:\n  - {first}\n  - {second}\n"
    if is_shadowed:
        assert faults(tmp_path, text) == ["3: rules.1: never decides: rules.0 always does, before it"]
    else:
        path = tmp_path / "profile.yaml"
        path.write_text(text, encoding="utf-8")
        assert len(load_profile(path).rules) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("options: [clean-text]", "1: options.0: Input should be"),
        ("options: [clean-pixel-data]", "1: options.0: clean-pixel-data is not there yet"),
        ("options: [retain-uids, retain-uids]", "1: options.1: retain-uids is there twice"),
        (
            "options: [retain-longitudinal-full-dates, retain-longitudinal-modified-dates]",
            "1: options: retain-longitudinal-full-dates and retain-longitudinal-modified-dates exclude",
        ),
        ("dates: {days: 0}", "1: dates: days: 0 would leave"),
        ("dates: {days: 5, window: 5}", "1: dates: one of window, days and anchor"),
        ("dates: {days: 5, anchor: StudyDate}", "1: dates: one of window, days and anchor"),
        ("dates: {becomes: 1970-01-01}", "1: dates: becomes is what the date of an anchor becomes"),
        ("dates: {anchor: StudyDate, becomes: soon}", "1: dates.becomes: "),
        ("dates: {anchor: StudyDat}", "1: dates.anchor: unknown keyword StudyDat; did you mean StudyDate?"),
        ("dates: {anchor: StudyTime}", "1: dates.anchor: must be a date"),
        ("dates: {anchor: '(0018,12xx)'}", "1: dates.anchor: must be one attribute"),
        ("dates: {anchor: ReferencedStudySequence/StudyDate}", "1: dates.anchor: must be one attribute"),
        ("dates: {window: 0}", "1: dates.window: "),
        ("patients: {scheme: fixed}", "1: patients"),
        ("patients: {scheme: table, file: no.csv}", "1: patients.file: there is no file"),
        ("vocabulary: no.txt", "1: vocabulary: there is no file"),
        ("safe_private: no.csv", "1: safe_private: there is no file"),
        ("pixels: maybe", "1: pixels: "),
        ("uids: {root: x}", "1: uids.root: "),
        ("rules: [{tag: StudyID, action: hash, all: true}]", "1: rules.0.all: the action hash has no all"),
        ("uids: {old_style: true}", "1: uids.old_style: is of the scheme mmiv"),
        ("base: none", "1: base: "),
        ("basis: basic", "1: basis: unknown key; did you mean base?"),
        ("dates: {widow: 3}", "1: dates.widow: unknown key; did you mean window?"),
        ("patients: {scheme: hash, prefx: A}", "1: patients.prefx: unknown key; did you mean prefix?"),
        ("[]", "1: must be a mapping"),
        ("a: [", "1: not YAML"),
    ],
)
def test_other_faults(tmp_path: Path, text: str, said: str) -> None:
    """Of settings, of keys, of YAML."""
    found = faults(tmp_path, text)
    assert any(line.startswith(said) or said in line for line in found), found


@pytest.mark.parametrize(
    ("rows", "match", "said"),
    [
        ("a,1\nb,2\na,3\n", "equals", "t.csv:4: this original has another new value above"),
        ("a,1\n ,2\n", "contains", "t.csv:3: original is empty"),
        ("a,1\n,2\n", "word", "t.csv:3: original is empty"),
        ("a,1\n,2\na,1\n", "equals", ""),
    ],
)
def test_tables_to_look_up(rows: str, match: str, said: str, tmp_path: Path) -> None:
    """Two things of one original, or an original that every value has, are told by their line."""
    (tmp_path / "t.csv").write_text(f"original,new\n{rows}", encoding="utf-8")
    rule = f"{{tag: Manufacturer, action: lookup, file: t.csv, match: {match}}}"
    if said:
        assert any(said in line for line in faults(tmp_path, f"rules: [{rule}]"))
    else:
        (tmp_path / "p.yaml").write_text(f"rules: [{rule}]", encoding="utf-8")
        assert load_profile(tmp_path / "p.yaml")


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """Not one after the other."""
    found = faults(tmp_path, "rules:\n  - {tag: A, action: keep}\n  - {tag: B, action: keep}\nvocabulary: x\n")
    assert [line.split(":")[0] for line in found] == ["4", "2", "3"]


def test_nothing_starts_with_a_fault(tmp_path: Path) -> None:
    """Not the node, not `check`, not `deid`: exit code 2, and the fault."""
    profile = tmp_path / "bad.yaml"
    profile.write_text("rules: [{tag: Foo, action: keep}]", encoding="utf-8")
    config = tmp_path / "node.yaml"
    config.write_text(
        f"key: {{file: {tmp_path}/key, create: true}}\nspool: {{path: {tmp_path}/spool}}\nlisten: [{{port: 0}}]\n"
        f"routes: [{{called_ae_title: A, project: p, profile: {profile}, destinations: [d]}}]\n"
        f"destinations: {{d: {{type: folder, path: {tmp_path}/out}}}}\n",
        encoding="utf-8",
    )
    for command in (
        ("serve", "-c", str(config)),
        ("check", "-c", str(config)),
        ("deid", "docs/example.dcm", "-o", str(tmp_path / "out"), "--profile", str(profile)),
        ("lint", str(profile)),
        ("rules", "--profile", str(profile)),
    ):
        done = scp_anon(*command)
        assert done.returncode == 2, command
        assert done.stderr.startswith("scp-anon: ")
        assert "Traceback" not in done.stderr
    for option in (("--profile", "nowhere.yaml"), ("--option", "clean-all"), ("--pixels", "perhaps")):
        assert deid("docs/example.dcm", "-o", tmp_path / "out", *option).code == 2
    assert not (tmp_path / "spool").exists()


def test_changes_are_checked() -> None:
    """Options from the command line exclude each other as those of a file do."""
    changed = with_changes(ProfileFile(), OPTIONS[:5], "pass")
    assert changed.options == OPTIONS[:5]
    assert changed.pixels == "pass"
    with pytest.raises(ConfigError, match="exclude"):
        with_changes(ProfileFile(options=(OPTIONS[5],)), [OPTIONS[6]])  # type: ignore[arg-type]  # a name of an option


def test_errors_hold_no_values_of_tables(tmp_path: Path) -> None:
    """A table may hold names: what is said of it does not."""
    table = tmp_path / "patients.csv"
    table.write_text(f"id,pseudonym\n{samples.CANARY},{samples.CANARY}\n{samples.CANARY},B\n", encoding="utf-8")
    found = faults(tmp_path, f"patients: {{scheme: table, file: {table.name}}}")
    assert samples.CANARY not in "".join(found)
