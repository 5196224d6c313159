"""Overlays of an image, burned into a picture of one of its frames (PS3.3 C.9.2): each of its bits is a white pixel.

Only those with data of their own, in (60xx,3000). Overlays that are bits of the pixel data are retired since 2004, and
decoders leave such bits out. A multi-frame overlay may be large, so only the bits of one frame are unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydicom.dataset import Dataset

from scp_anon.errors import ScpAnonError

_GROUPS: Final = range(0x6000, 0x6100, 2)
_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _FIRST_FRAME, _DATA = 0x0010, 0x0011, 0x0015, 0x0050, 0x0051, 0x3000
_WHITE: Final = 255


class BadOverlay(ScpAnonError):
    """An overlay that cannot be drawn; the message says which, and why."""


def burn(data_set: Dataset, number: int, pixels: Any) -> None:
    """Draw the overlays of frame `number`, from 1, into its pixels of eight bits, gray or RGB.

    What lies outside of the image is not drawn. Raises BadOverlay.
    """
    for group in _groups(data_set):
        try:
            plane = _plane(data_set, group, number)
            if plane is not None:
                _draw(plane, _numbers(data_set, group, _ORIGIN, 1, 1), pixels)
        except (TypeError, ValueError, IndexError):  # a value that is none of its VR, or missing
            raise BadOverlay(f"its overlay {group:04X} cannot be read") from None


def _groups(data_set: Dataset) -> Iterator[int]:
    """The groups that are overlays. Raises BadOverlay for one without data."""
    for group in _GROUPS:
        if (group, _DATA) in data_set:
            yield group
        elif (group, _ROWS) in data_set:
            raise BadOverlay(f"its overlay {group:04X} is a part of the pixel data, and cannot be drawn")


def _plane(data_set: Dataset, group: int, number: int) -> Any:
    """The bits of an overlay for a frame of the image, as rows and columns; None where it has none for it."""
    import numpy as np

    (rows,), (columns,) = _numbers(data_set, group, _ROWS), _numbers(data_set, group, _COLUMNS)
    (frames,) = _numbers(data_set, group, _FRAMES, 1)
    (first,) = _numbers(data_set, group, _FIRST_FRAME, 1)
    # One that says nothing of frames is there for all of them.
    says_frames = frames > 1 or (group, _FIRST_FRAME) in data_set
    index = number - first if says_frames else 0
    if not 0 <= index < frames:
        return None
    element = data_set[group, _DATA]
    data = np.frombuffer(element.value, "uint8")
    if element.VR == "OW" and data_set.original_encoding[1] is False:
        data = data[: data.size // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)  # words in big endian
    size = rows * columns
    start, stop = index * size, (index + 1) * size
    if min(rows, columns) < 1 or stop > data.size * 8:
        raise ValueError
    bits = np.unpackbits(data[start // 8 : (stop + 7) // 8], bitorder="little")[start % 8 :][:size]
    return bits.reshape(rows, columns).astype(bool)


def _numbers(data_set: Dataset, group: int, element: int, *default: int) -> list[int]:
    """The numbers of an attribute; those given where it has none. Raises what the conversion does."""
    value = data_set[group, element].value if (group, element) in data_set else None
    if value is None:
        return list(default)
    return [int(each) for each in (value if hasattr(value, "__iter__") and not isinstance(value, str) else [value])]


def _draw(plane: Any, origin: list[int], pixels: Any) -> None:
    """Make the pixels white that lie under a bit; `origin` is where its first one is, from 1 on, or outside."""
    top, left = origin[0] - 1, origin[1] - 1
    rows, columns = pixels.shape[:2]
    inside = plane[max(-top, 0) : max(rows - top, 0), max(-left, 0) : max(columns - left, 0)]
    top, left = max(top, 0), max(left, 0)
    pixels[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = _WHITE
