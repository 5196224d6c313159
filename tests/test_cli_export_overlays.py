"""`export --overlays`: what is in (60xx,3000) is white in the picture, at its place and in its frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scp_anon.picture import NoPicture, Pictures
from tests import samples
from tests.command import scp_anon
from tests.peers import CORPUS, require_package

REAL = CORPUS / "pydicom+pydicom-data" / "MR-SIEMENS-DICOM-WithOverlays.dcm"
ROWS, COLUMNS = 4, 5
WINDOW = {"WindowCenter": 128, "WindowWidth": 256}


@pytest.fixture(autouse=True)
def extra() -> None:
    """All of this needs the packages of the extra."""
    for name in ("numpy", "PIL"):
        require_package(name)


def image(frames: int = 1, **changes: Any) -> Dataset:
    """A gray image of eight bits, all 10 in its first frame, all 11 in its second."""
    ds = samples.image()
    ds.Rows, ds.Columns, ds.NumberOfFrames = ROWS, COLUMNS, frames
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = b"".join(bytes([10 + frame]) * ROWS * COLUMNS for frame in range(frames))
    ds["PixelData"].VR = "OB"
    for keyword, value in (WINDOW | changes).items():
        setattr(ds, keyword, value)
    return ds


def overlay(ds: Dataset, planes: list[list[str]], origin: list[int] | None = None, group: int = 0x6000) -> Dataset:
    """The image with an overlay: its planes as rows of `#` and `.`."""
    bits = "".join("".join(plane) for plane in planes)
    number = sum(1 << place for place, bit in enumerate(bits) if bit == "#")
    data = number.to_bytes((len(bits) + 15) // 16 * 2, "little")
    ds.add_new((group, 0x0010), "US", len(planes[0]))
    ds.add_new((group, 0x0011), "US", len(planes[0][0]))
    ds.add_new((group, 0x0040), "CS", "G")
    ds.add_new((group, 0x0050), "SS", origin or [1, 1])
    ds.add_new((group, 0x0100), "US", 1)
    ds.add_new((group, 0x0102), "US", 0)
    ds.add_new((group, 0x3000), "OW", data)
    if len(planes) > 1:
        ds.add_new((group, 0x0015), "IS", len(planes))
    return ds


def drawn(folder: Path, ds: Dataset, frame: int = 1, syntax: str = ExplicitVRLittleEndian) -> list[str]:
    """The rows of a picture with overlays: `#` where it is white, `.` where it is as without them."""
    from PIL import Image

    source = folder / "image.dcm"
    source.write_bytes(samples.encoded(ds, syntax))
    pictures = []
    for with_overlays in (False, True):
        target = folder / f"{len(list(folder.iterdir()))}.png"
        Pictures(source, with_overlays=with_overlays).save(frame, target)
        with Image.open(target) as opened:
            pictures.append(opened.convert("L").tobytes())
    plain, marked = pictures
    assert 255 not in plain
    assert all(new in (old, 255) for old, new in zip(plain, marked, strict=True))
    shown = "".join("#" if pixel == 255 else "." for pixel in marked)
    return [shown[start : start + COLUMNS] for start in range(0, len(shown), COLUMNS)]


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ([1, 1], ["##...", ".#...", ".....", "....."]),
        ([3, 4], [".....", ".....", "...##", "....#"]),
        ([4, 5], [".....", ".....", ".....", "....#"]),
        ([0, 0], ["#....", ".....", ".....", "....."]),
        ([-9, 1], ["....."] * 4),
        ([1, 99], ["....."] * 4),
    ],
)
def test_origin(origin: list[int], expected: list[str], tmp_path: Path) -> None:
    """Counted from 1; it may be outside, and what is outside is cut off."""
    assert drawn(tmp_path, overlay(image(), [["##", ".#"]], origin)) == expected


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_transfer_syntaxes(syntax: str, tmp_path: Path) -> None:
    """Words of big endian, too; two overlays, of which one begins within a byte of the other's."""
    ds = overlay(overlay(image(), [["###", "..#", "#.#"]]), [["#"]], [4, 5], group=0x6002)
    if syntax == ExplicitVRBigEndian:  # pydicom writes words as they are
        for group in (0x6000, 0x6002):
            data = ds[group, 0x3000].value
            ds[group, 0x3000].value = b"".join(data[i : i + 2][::-1] for i in range(0, len(data), 2))
    assert drawn(tmp_path, ds, syntax=syntax) == ["###..", "..#..", "#.#..", "....#"]


def test_frames(tmp_path: Path) -> None:
    """One plane for each frame from the first that it is for; one that says nothing of frames is there in all."""
    planes = [["#..", "..."], ["...", "..#"]]
    ds = overlay(image(3), planes)
    tops = [drawn(tmp_path, ds, frame)[:2] for frame in (1, 2, 3)]
    assert tops == [["#....", "....."], [".....", "..#.."], [".....", "....."]]
    ds.add_new((0x6000, 0x0051), "US", 2)
    tops = [drawn(tmp_path, ds, frame)[:2] for frame in (1, 2, 3)]
    assert tops == [[".....", "....."], ["#....", "....."], [".....", "..#.."]]
    assert [drawn(tmp_path, overlay(image(2), [["#"]]), frame)[0] for frame in (1, 2)] == ["#...."] * 2


def test_colour(tmp_path: Path) -> None:
    """White is white in RGB."""
    ds = overlay(image(), [[".#"]])
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PlanarConfiguration = "RGB", 3, 0
    ds.PixelData = bytes([10, 20, 30]) * ROWS * COLUMNS
    assert drawn(tmp_path, ds)[0] == ".#..."


def test_inverse(tmp_path: Path) -> None:
    """An overlay is white where black and white change places as well."""
    ds = overlay(image(PhotometricInterpretation="MONOCHROME1"), [[".#"]])
    assert drawn(tmp_path, ds)[0] == ".#..."


def in_pixels(ds: Dataset) -> None:
    """An overlay of the retired kind."""
    del ds[0x6000, 0x3000]


def short(ds: Dataset) -> None:
    """Less data than rows and columns say."""
    ds[0x6000, 0x0010].value = 60000


def nothing(ds: Dataset) -> None:
    """Rows without a number."""
    ds[0x6000, 0x0010].value = None


def half_an_origin(ds: Dataset) -> None:
    """A row, but no column."""
    ds[0x6000, 0x0050].value = 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_pixels, "overlay 6000 is a part of the pixel data"),
        *((change, "overlay 6000 cannot be read") for change in (short, nothing, half_an_origin)),
    ],
)
def test_what_cannot_be_drawn(change: Callable[[Dataset], None], said: str, tmp_path: Path) -> None:
    """Then there is no picture: one without would be taken for the whole."""
    ds = overlay(image(), [["#"]])
    change(ds)
    source, target = tmp_path / "image.dcm", tmp_path / "out.png"
    source.write_bytes(samples.encoded(ds))
    with pytest.raises(NoPicture, match=said):
        Pictures(source, with_overlays=True).save(1, target)
    assert not target.exists()
    Pictures(source).save(1, target)


@pytest.mark.skipif(not REAL.is_file(), reason="the corpus is not here")
def test_real_overlay(tmp_path: Path) -> None:
    """As pydicom reads it, by the command."""
    from PIL import Image

    marked, plain = tmp_path / "marked.png", tmp_path / "plain.png"
    assert scp_anon("export", str(REAL), str(marked), "--overlays").stdout == f"{marked}: frame 1 of 1\n"
    assert scp_anon("export", str(REAL), str(plain)).returncode == 0
    bits = dcmread(REAL).overlay_array(0x6000)
    with Image.open(marked) as new, Image.open(plain) as old:
        expected = [255 if bit else pixel for bit, pixel in zip(bits.flat, old.tobytes(), strict=True)]
        assert list(new.tobytes()) == expected
    assert bits.any()
