"""Regular expressions of profiles: those that a value could make take for ever are refused, and the others end soon."""

from __future__ import annotations

import re
import time

import pytest

from scp_anon import ConfigError, Undecodable
from scp_anon.regex import compiled
from tests import samples
from tests.profiles import engine
from tests.test_engine import read


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "^(a+)+$",
            "(a*)*b",
            "(a|aa)+$",
            "(?:CT|MR)*",
            r"(\w+\s?)*$",
            "(a{1,20})+",
            "(?:a?){50}b",
            "((ab)*c)+",
            "(x+x+)+y",
        ),
        *("(a+){11,}", ".*" * 9, "(", "(?P<x", "a**"),
        # All of them within bounds, but for the ways in which they can be combined.
        *("^(a{0,10}){0,10}b", "^((a|aa){10}){10}b", "a?" * 30 + "a" * 30),
        *("^(a?){10}(a?){10}(a?){10}a{30}$", "(a+){9}b"),
        *("^" + "a{0,10}" * 20 + "b", "(?:(?:a|b|ab){8}){8}c", "(?:(?:a|aa){0,10}){0,10}+b"),
    ],
)
def test_refused(pattern: str) -> None:
    """Repeated parts of varying length, repeated alternatives, too many repetitions; and what is none at all."""
    with pytest.raises(ConfigError, match=r"may take for ever|is no regular expression"):
        compiled(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "^CT",
            "(?i)localizer",
            r"(\d{4})-(\d{2})",
            "(.*) w (.*)",
            "(ab)+",
            "[A-Z]+_[0-9]+",
            "(CT|MR) HEAD",
            "(?=x)y*",
        ),
        *(r"^(?:\d{1,3}\.){3}\d{1,3}$", r"(\w+ ){3}x", "a?" * 14 + "b", r"(.*)\1\1b"),
        *("(a|ab|abc|b){6}c", "(?:a{0,10}){0,3}b"),
        *(r"^(?:\d{3}-)?\d{6}$", "a{2,8}(b|c){1,3}", "(?s:.*one.*two.*three.*)", "(?P<first>[^^]*)\\^(?P<last>[^^]*)"),
    ],
)
def test_taken(pattern: str) -> None:
    """What rules are really made of; and none of them takes long, whatever it is searched in."""
    expression = compiled(pattern)
    begin = time.monotonic()
    for letter in ("a", "1", " ", "ab", "1-", "^", "one two "):
        for end in ("", "!"):
            expression.pattern.search((letter * expression.longest)[: expression.longest] + end)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("pattern", ["a*b|c", "a*", r"\w*\d", "(?=a*b)a|b", "a*b*c*d|a", "[ab]*?c|b", "(a)(b*)c|a|b"])
def test_all_matches_take_no_longer(pattern: str) -> None:
    """Than one search for what is not there, which tries every way from every place, as the bounds allow it."""
    expression = compiled(pattern)
    never = re.compile(f"(?:{pattern})(?!)")
    for letters in ("a", "b", "ab", "aab", "ca", "a" * 50 + "c"):
        text = (letters * expression.longest)[: min(expression.longest, 2500)]
        begin = time.monotonic()
        assert never.search(text) is None
        searched = time.monotonic()
        expression.pattern.subn("x", text)
        assert time.monotonic() - searched < 3 * (searched - begin) + 0.5


def test_text_that_is_too_long() -> None:
    """It is not searched: a rule is not applicable, a condition quarantines; `otherwise` says what else to do."""
    ds = samples.image()
    ds.PatientComments = "a" * 3000
    file = samples.encoded(ds)
    rule = {"tag": "PatientComments", "action": "regex", "pattern": "(a*)b*", "value": r"\1"}
    with pytest.raises(Undecodable, match="rule-not-applicable"):
        engine(rules=[rule]).bytes(file)
    with pytest.raises(Undecodable, match="rule-not-applicable"):
        engine(rules=[{**rule, "all": True}]).bytes(file)
    assert "PatientComments" not in read(engine(rules=[{**rule, "otherwise": "remove"}]).bytes(file))
    condition = {"when": {"PatientComments": {"matches": "a*b*"}}, "then": "quarantine"}
    with pytest.raises(Undecodable, match="rule-not-applicable"):
        engine(admit=[condition]).bytes(file)


def test_fault_names_its_place() -> None:
    """In a rule and in a condition."""
    for profile, said in (
        ({"rules": [{"tag": "StudyID", "action": "regex", "pattern": "(a+)+", "value": "x"}]}, "rules.0: pattern: may"),
        ({"admit": [{"when": {"StudyID": {"matches": "(a+)+"}}, "then": "filter"}]}, "StudyID: matches: may take"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            engine(**profile)
