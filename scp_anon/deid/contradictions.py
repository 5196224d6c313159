"""Conditions that no instance can meet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pydicom._dicom_dict import DicomDictionary

from scp_anon.deid.conditions import CONTEXT
from scp_anon.deid.targets import parse_attribute
from scp_anon.dicom.dictionary import vr_of

_FORMS: Final = {
    "AS": r"\d{3}[DWMY]",
    "CS": r"[A-Z0-9_ ]{0,16}",
    "DA": r"(\d{8})?",
    "DS": r"[+-]?\d*\.?\d*([eE][+-]?\d+)?",
    "IS": r"[+-]?\d*",
    "TM": r"(\d{2,6}(\.\d{1,6})?)?",
    "UI": r"[0-9.]{0,64}",
}


def contradiction(when: Mapping[str, object]) -> str:
    """Why nothing can meet a condition, as `compile_condition` takes it; "" where something may."""
    demands: dict[str, list[tuple[str, object]]] = {}
    for name, wanted in _demands(when):
        demands.setdefault(name, []).extend(wanted.items() if isinstance(wanted, dict) else [("equals", wanted)])
    for name, tests in demands.items():
        problem = _impossible_value(name, tests) or _contradiction(name, tests)
        if problem:
            return problem
    return next((problem for inner in _alternatives(when) if (problem := contradiction(inner))), "")


def _demands(when: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What has to hold, all of it together."""
    for name, wanted in when.items():
        if name == "all" and isinstance(wanted, list):
            for inner in wanted:
                yield from _demands(inner)
        elif name not in ("any", "not", "all"):
            yield name, wanted


def _alternatives(when: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    for name, wanted in when.items():
        if name in ("any", "all") and isinstance(wanted, list):
            yield from wanted


def _impossible_value(name: str, tests: list[tuple[str, object]]) -> str:
    """A value that is none of the attribute's VR."""
    vr = None if name in CONTEXT else vr_of(parse_attribute(name))
    form = _FORMS.get(vr or "")
    for operator, operand in tests:
        wanted = operand if isinstance(operand, list) else [operand]
        if operator in ("equals", "in") and form and not any(re.fullmatch(form, str(value)) for value in wanted):
            return f"{name}: {operator}: nothing of VR {vr} has this value"
    return ""


def _contradiction(name: str, tests: list[tuple[str, object]]) -> str:
    if ("exists", False) in tests and len(tests) > 1:
        return f"{name}: cannot be absent and have a value"
    sets = [
        {str(value) for value in (operand if isinstance(operand, list) else [operand])}
        for operator, operand in tests
        if operator in ("equals", "in")
    ]
    if _has_one_value(name) and len(sets) > 1 and not set.intersection(*sets):
        return f"{name}: cannot have two values at once"
    above = [float(str(operand)) for operator, operand in tests if operator == "greater"]
    below = [float(str(operand)) for operator, operand in tests if operator == "less"]
    if _has_one_value(name) and above and below and max(above) >= min(below):
        return f"{name}: no number is both greater and less"
    return ""


def _has_one_value(name: str) -> bool:
    if name in CONTEXT:
        return True
    entry = DicomDictionary.get(parse_attribute(name))
    return entry is not None and entry[1] == "1"
