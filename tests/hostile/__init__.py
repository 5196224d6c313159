"""Hostile DICOM files and data sets, made by code: each kind is a function that says what is wrong, and how it ends.

`python -m tests.hostile FOLDER` has the engine de-identify them all in one process, huge ones from files in FOLDER,
and prints a line of JSON for each.
"""

from __future__ import annotations

from tests.hostile import files, pixels, places, structure, values, volume
from tests.hostile.kind import HUGE, KINDS, HugeKind, Kind

__all__ = ["HUGE", "KINDS", "HugeKind", "Kind", "files", "pixels", "places", "structure", "values", "volume"]
