"""The digest of a profile, by which results are told: it is that of what the rules do, and the same for ever."""

from __future__ import annotations

from typing import Any

import pytest

from scp_anon.deid import ProfileFile, load_profile
from scp_anon.deid import settings as schema
from tests.profiles import engine

# A profile and its digest. That one of these changes means that results of the same rules are no longer told as such.
GOLDEN: dict[str, tuple[dict[str, Any], str]] = {
    "basic": ({}, "db6a3a24"),
    "options": ({"options": ["clean-descriptors", "retain-longitudinal-modified-dates"]}, "b94b0156"),
    "rules": ({"rules": [{"tag": "StudyDescription", "action": "replace", "value": "x"}]}, "b810ea98"),
    "patients": ({"patients": {"scheme": "hash", "prefix": "CT-", "length": 12}}, "95dddc74"),
    "dates": ({"options": ["retain-longitudinal-modified-dates"], "dates": {"days": -42}}, "83269511"),
    "allow-list": ({"base": "allow-list", "rules": [{"tag": "Rows", "action": "keep"}]}, "6c65e4b9"),
}


def digest(**content: Any) -> str:
    """The digest of a profile."""
    return engine(**{"pixels": "hold", **content}).profile.digest


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    """As it was."""
    content, expected = GOLDEN[name]
    assert digest(**content) == expected


def test_a_new_setting_changes_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that has a setting more, at any level, tells results of an unchanged profile as before."""

    class Hashed(schema.HashedPatients):
        added: int = 5

    class Rule(schema.RuleSection):
        added: str | None = None

    class Later(ProfileFile):
        patients: Hashed = Hashed()
        rules: tuple[Rule, ...] = ()
        added: bool = True

    from scp_anon.deid.profile import _digest

    for content, expected in GOLDEN.values():
        if content.get("patients", {}).get("scheme", "hash") == "hash":
            assert _digest(Later.model_validate(content)) == expected


@pytest.mark.parametrize(
    "content",
    [
        {"base": "basic"},
        {"pixels": "hold"},
        {"dates": {}},
        {"dates": {"window": 365}},
        {"patients": {"scheme": "hash"}},
        {"patients": {"scheme": "hash", "prefix": "", "issuer": False, "length": 16}},
        {"rules": []},
        {"uids": {"scheme": "keyed", "root": "2.25"}},
    ],
)
def test_what_is_so_anyway_changes_nothing(content: dict[str, Any]) -> None:
    """To say a default is to say nothing."""
    assert digest(**content) == GOLDEN["basic"][1]


@pytest.mark.parametrize(
    "content",
    [
        {"pixels": "pass"},
        {"options": ["retain-uids"]},
        {"dates": {"window": 366}},
        {"patients": {"scheme": "hash", "length": 20}},
        {"patients": {"scheme": "hash", "placeholders": []}},
        {"uids": {"root": "1.2.3"}},
        {"study_patients": "first"},
        {"rules": [{"tag": "StudyDescription", "action": "keep"}]},
        {"hold": ["burned-in"]},
    ],
)
def test_what_does_something_else_has_another_digest(content: dict[str, Any]) -> None:
    """Whatever changes a result, or what becomes of an instance."""
    assert digest(**content) != GOLDEN["basic"][1]


def test_the_order_of_keys_says_nothing(tmp_path: Any) -> None:
    """But that of rules and options does."""
    path = tmp_path / "profile.yaml"
    digests = []
    for text in ("pixels: pass\noptions: [retain-uids]\n", "options: [retain-uids]\npixels: pass\n"):
        path.write_text(text)
        settings = load_profile(path)
        digests.append(engine(**settings.model_dump(exclude_unset=True)).profile.digest)
    assert digests[0] == digests[1]
