"""Laws of generated instances under options that keep nothing identifying: no canary, stable, and still well formed."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from scp_anon import Undecodable
from tests import samples, trees, wire
from tests.oracle import METHOD_CODES
from tests.profiles import engine
from tests.test_engine_exact import EXPLICIT_LE, IMPLICIT_LE, decoded, part10, shape
from tests.wire import Element, Elements

# Those that retain identities of devices, institutions and UIDs have their canaries by right.
CLEANING = engine(
    *("retain-safe-private", "retain-longitudinal-modified-dates", "clean-descriptors"),
    *("clean-structured-content", "clean-graphics"),
)
TEXT = samples.CANARY.encode()


def is_graphics(element: Element) -> bool:
    """Whether an element is of a curve or an overlay: the generator puts text where their numbers should be."""
    return element.tag >> 24 in (0x50, 0x60)


def without_graphics(elements: Elements) -> Elements:
    """The elements without curves and overlays, at every depth."""
    return tuple(
        element
        if isinstance(element.value, bytes)
        else Element(
            element.tag,
            element.vr,
            tuple(wire.Item(without_graphics(item.elements), item.undefined) for item in element.value),
            element.undefined,
        )
        for element in elements
        if not is_graphics(element)
    )


def unclaimed(file: bytes) -> Elements:
    """The elements without the claims of what was done: a dummy date that is moved is one more thing done."""
    return tuple(element for element in decoded(file) if element.tag != METHOD_CODES)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.booleans().flatmap(lambda vr: st.tuples(st.just(vr), trees.instances(vr))))
def test_no_forbidden_value_survives(case: tuple[bool, Elements]) -> None:
    """Whatever the elements, their VRs, nesting and lengths; and what comes out goes in again, and stays what it is."""
    is_explicit, source = case
    syntax = EXPLICIT_LE if is_explicit else IMPLICIT_LE
    try:
        result = CLEANING.bytes(part10(wire.encode(without_graphics(source)), syntax))
    except Undecodable:
        assume(False)
    assert TEXT not in result
    assert trees.UID_CANARY not in result
    again = CLEANING.bytes(result)
    assert shape(unclaimed(again)) == shape(unclaimed(result))
    assert wire.decode(wire.encode(decoded(result)), is_explicit) == decoded(result)
