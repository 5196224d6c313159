"""What an instance says of its de-identification, where rules and functions of one's own have decided."""

from __future__ import annotations

from typing import Any

import pytest

from scp_anon import ConfigError, Deidentifier, Verdict
from tests import samples
from tests.profiles import engine
from tests.test_engine import read

FILE = samples.encoded(samples.image())


@pytest.mark.parametrize(
    ("value", "said"),
    [(r"\g<0>", "UNMODIFIED"), ("20200101", "MODIFIED"), ("", "REMOVED")],
)
def test_dates_of_rules_that_could_be_anything(value: str, said: str) -> None:
    """What a regular expression or a function makes of a date is looked at: whether it is still the same."""
    rule = {"tag": "StudyDate", "action": "regex", "pattern": ".*", "value": value}
    assert read(engine(rules=[rule]).bytes(FILE)).LongitudinalTemporalInformationModified == said
    answers: dict[str, str | Verdict] = {
        "UNMODIFIED": Verdict.KEEP,
        "MODIFIED": "20200101",
        "REMOVED": Verdict.EMPTY,
    }
    answer = answers[said]
    by = Deidentifier(samples.KEY, "", samples.PASS, rules={"StudyDate": lambda attribute: answer})
    assert read(by.bytes(FILE)).LongitudinalTemporalInformationModified == said


def test_method_tells_of_rules_and_functions() -> None:
    """(0012,0063) is not that of the plain Basic Profile where something else decided too."""
    rule = {"tag": "StudyDate", "action": "keep"}
    profile = {**samples.PASS, "rules": [rule]}
    functions = {"StudyID": lambda attribute: Verdict.KEEP}
    for by, said in (
        (Deidentifier(samples.KEY, "", samples.PASS), " basic "),
        (Deidentifier(samples.KEY, "", profile), " basic and rules "),
        (Deidentifier(samples.KEY, "", samples.PASS, functions), " basic and functions "),
        (Deidentifier(samples.KEY, "", profile, functions), " basic and rules and functions "),
    ):
        assert said in read(by.bytes(FILE)).DeidentificationMethod[1]


@pytest.mark.parametrize("said", [None, 5, ["x"]])
def test_functions_that_say_nothing_that_can_be_meant(said: Any) -> None:
    """The commonest is a forgotten `return`: the attribute is named."""
    by = Deidentifier(samples.KEY, "", samples.PASS, rules={"StudyID": lambda attribute: said})
    with pytest.raises(TypeError, match="StudyID"):
        by.bytes(FILE)


@pytest.mark.parametrize("name", ["SOPClassUID", "PatientIdentityRemoved", "SpecificCharacterSet"])
def test_functions_that_would_never_be_asked(name: str) -> None:
    """They are refused, as rules of a profile are."""
    with pytest.raises(ConfigError, match=name):
        Deidentifier(samples.KEY, "", samples.PASS, rules={name: lambda attribute: Verdict.KEEP})
