"""What is taken at all, and what is held because of its pixels: the conditions of a profile on a whole instance."""

from __future__ import annotations

from typing import Final

from scp_anon.deid.conditions import Condition, compile_condition
from scp_anon.deid.instance import Instance
from scp_anon.deid.settings import ProfileFile, held_tests, shipped_pixel_rules
from scp_anon.errors import Filtered, NotAdmitted, Reason, Undecodable

_MODALITY: Final = 0x00080060
_REMEMBERED: Final = 4096
PIXELS_SEEN: Final = "PixelsSeen"  # of the context: an operator has looked at the pixels, and lets them pass


class Admission:
    """The compiled conditions; `tags` are the attributes that they look at."""

    def __init__(self, settings: ProfileFile) -> None:
        """Raises ConfigError for a condition that cannot be meant."""
        self._admit = [(compile_condition(section.when), section.then) for section in settings.admit]
        self._modalities = frozenset(settings.modalities) if settings.modalities is not None else None
        held = [*held_tests(settings.hold)]
        if settings.pixels == "hold":
            held += shipped_pixel_rules() if settings.pixel_rules is None else settings.pixel_rules
        self._held: list[tuple[Condition, str]] = [(compile_condition(rule.when), rule.why) for rule in held]
        conditions = [condition for condition, _ in (*self._admit, *self._held)]
        self.tags = frozenset((_MODALITY,)).union(*(condition.tags for condition in conditions))
        self._looked_at = sorted(self.tags)
        self._admitted: set[tuple[object, ...]] = set()
        self.refuses = any(then == "refuse" for _, then in self._admit)

    def check(self, instance: Instance) -> None:
        """Raises NotAdmitted to have the sender told, Filtered for what is to be dropped, Undecodable to hold."""
        # A series says the same of itself in every instance.
        key = (instance.character_sets, *map(instance.facts.get, self._looked_at), *instance.context.items())
        if key not in self._admitted:
            self._check(instance)
            if len(self._admitted) >= _REMEMBERED:
                self._admitted.clear()
            self._admitted.add(key)

    def _check(self, instance: Instance) -> None:
        then = next((then for condition, then in self._admit if condition.test(instance)), "accept")
        if then == "refuse":
            raise NotAdmitted
        if then == "filter":
            raise Filtered
        if then == "quarantine":
            raise Undecodable(Reason.NOT_ADMITTED)
        modalities = instance.values(_MODALITY)
        if self._modalities is not None and not (modalities and self._modalities.issuperset(modalities)):
            raise Undecodable(Reason.NOT_ADMITTED, "(0008,0060)")
        if PIXELS_SEEN in instance.context:
            return
        for condition, why in self._held:
            if condition.test(instance):
                raise Undecodable(Reason.PIXELS_MAY_IDENTIFY, why)
