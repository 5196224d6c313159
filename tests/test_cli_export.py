"""`export`: pictures of frames, of every transfer syntax that can be decoded, and a reason for those that cannot."""

from __future__ import annotations

import io
import stat
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from scp_anon import ConfigError, picture
from scp_anon.picture import NoPicture, Pictures, Window
from tests import samples
from tests.command import scp_anon
from tests.peers import corpus_files, require_package

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "example.dcm"
SYNTAXES = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.5",
}
# Of the corpus: what has no picture, and why.
UNSHOWN = {
    "generated_encapsulated_empty_bot_1_to_1.dcm": "cannot be decoded",
    "CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": "there is no decoder here for JPEG Full",
    "CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": "there is no decoder here for JPEG Spec",
    "test_dcm": "cannot be decoded",
    "liver_deflate.dcm": "there is no decoder here for ",
    "RG2_JPLY.dcm": "cannot be decoded",
}


@pytest.fixture(autouse=True)
def extra() -> None:
    """All of this needs the packages of the extra."""
    for name in ("numpy", "PIL", "pylibjpeg", "libjpeg", "openjpeg"):
        require_package(name)


def gray(values: list[int], bits: int = 16, **changes: Any) -> Dataset:
    """An image of one row with these stored values."""
    ds = samples.image()
    ds.Rows, ds.Columns = 1, len(values)
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelData = b"".join(value.to_bytes(bits // 8, "little", signed=value < 0) for value in values)
    ds["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def shown(folder: Path, ds: Dataset, window: Window | None = None, frame: int = 1) -> list[object]:
    """The pixels of the picture of a frame, row by row: numbers, or triples."""
    from PIL import Image

    source, target = folder / "image.dcm", folder / f"{len(list(folder.iterdir()))}.png"
    source.write_bytes(samples.encoded(ds, getattr(ds, "syntax", ExplicitVRLittleEndian)))
    Pictures(source, window).save(frame, target)
    with Image.open(target) as image:
        return list(image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata())


def test_the_example_of_dicommanager(tmp_path: Path) -> None:
    """A file and a name: the first frame as PNG, and how many there are; nothing of the header goes with it."""
    from PIL import Image

    target = tmp_path / "out.png"
    done = scp_anon("export", str(EXAMPLE), str(target))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target}: frame 1 of 1\n", "")
    with Image.open(target) as image:
        assert (image.format, image.size, image.mode, image.info) == ("PNG", (128, 128), "L", {})
    assert b"PHANTOM" not in target.read_bytes()
    assert scp_anon("export", str(EXAMPLE), str(tmp_path / "out.jpg")).returncode == 0
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.format == "JPEG"


def test_window_of_the_file(tmp_path: Path) -> None:
    """After the rescale, by each function of PS3.3 C.11.2.1; the first of several."""
    values = [0, 924, 1024, 1124, 4000]
    linear = gray(values, RescaleIntercept=-1024, RescaleSlope=1, WindowCenter=[0, 7], WindowWidth=[201, 9])
    assert shown(tmp_path, linear) == [0, 1, 128, 255, 255]
    linear.VOILUTFunction = "LINEAR_EXACT"
    linear.WindowWidth = 400
    assert shown(tmp_path, linear) == [0, 64, 128, 191, 255]
    linear.VOILUTFunction = "SIGMOID"
    assert shown(tmp_path, linear) == [0, 69, 128, 186, 255]


def test_window_of_the_user(tmp_path: Path) -> None:
    """It holds over the file's own; a width of one is a threshold."""
    ds = gray([0, 50, 100, 101, 200], WindowCenter=1, WindowWidth=1)
    assert shown(tmp_path, ds, Window(100.5, 202)) == [1, 64, 128, 129, 254]
    assert shown(tmp_path, ds, Window(101, 1)) == [0, 0, 0, 255, 255]


@pytest.mark.parametrize("width", [None, 0, -5, ["", "3"], 0.5])
def test_without_a_window(tmp_path: Path, width: object) -> None:
    """From the least to the greatest value, as where the file's window cannot be meant."""
    ds = gray([10, 20, 110, 60])
    if width is not None:
        ds.WindowCenter, ds.WindowWidth = 5, width
    assert shown(tmp_path, ds) == [0, 26, 255, 128]
    assert shown(tmp_path, gray([7, 7])) == [0, 0]


def test_signed_values(tmp_path: Path) -> None:
    """Two's complement is read as such."""
    assert shown(tmp_path, gray([-100, 0, 100], PixelRepresentation=1)) == [0, 128, 255]


@pytest.mark.parametrize(
    "changes", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}], ids=str
)
def test_inverse(tmp_path: Path, changes: dict[str, Any]) -> None:
    """The least value is white."""
    assert shown(tmp_path, gray([0, 1, 2], **changes)) == [255, 127, 0]


def test_voi_lut(tmp_path: Path) -> None:
    """Where there is no window, a VOI LUT is what the image is looked at through."""
    item = Dataset()
    item.add_new(0x00283002, "US", [3, 0, 8])
    item.add_new(0x00283006, "US", [255, 0, 51])
    assert shown(tmp_path, gray([0, 1, 2], VOILUTSequence=Sequence([item]))) == [255, 0, 51]


def test_functional_groups(tmp_path: Path) -> None:
    """The rescale is shared, the window each frame's own."""

    def group(keyword: str, **values: object) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for name, value in values.items():
            setattr(inner, name, value)
        setattr(outer, keyword, Sequence([inner]))
        return outer

    ds = gray([0, 50, 100, 150] * 2, NumberOfFrames=2, Columns=4)
    shared = group("PixelValueTransformationSequence", RescaleIntercept=100, RescaleSlope=2)
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = [group("FrameVOILUTSequence", WindowCenter=center, WindowWidth=2) for center in (300.5, 200.5)]
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    assert shown(tmp_path, ds, frame=1) == [0, 0, 128, 255]
    assert shown(tmp_path, ds, frame=2) == [0, 128, 255, 255]


def test_colours(tmp_path: Path) -> None:
    """RGB by pixel and by plane, YBR, and palettes come out as RGB."""
    rgb = gray([0] * 2, 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    rgb.PixelData = bytes([255, 0, 1, 2, 3, 4])
    assert shown(tmp_path, rgb) == [(255, 0, 1), (2, 3, 4)]
    rgb.PlanarConfiguration = 1
    assert shown(tmp_path, rgb) == [(255, 1, 3), (0, 2, 4)]
    rgb.PlanarConfiguration = 0
    rgb.PhotometricInterpretation = "YBR_FULL"
    rgb.PixelData = bytes([76, 85, 255, 200, 128, 128])
    assert shown(tmp_path, rgb) == [(254, 0, 0), (200, 200, 200)]
    palette = gray([0, 1], 8, PhotometricInterpretation="PALETTE COLOR")
    for i, name in enumerate(("Red", "Green", "Blue")):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [2, 0, 16])
        table = (0).to_bytes(2, "little") + (0xFFFF if i else 0x8080).to_bytes(2, "little")
        setattr(palette, f"{name}PaletteColorLookupTableData", table)
    assert shown(tmp_path, palette) == [(0, 0, 0), (128, 255, 255)]


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings(tmp_path: Path, syntax: str) -> None:
    """The same picture."""
    ds = gray([0, 256, 512])
    ds.syntax = syntax
    assert shown(tmp_path, ds) == [0, 128, 255]


def test_frames(tmp_path: Path) -> None:
    """One by its number, all with numbers in their names; one that is not there is a fault."""
    source = tmp_path / "image.dcm"
    source.write_bytes(samples.encoded(gray([0, 1] * 12, NumberOfFrames=12, Columns=2)))
    done = scp_anon("export", str(source), str(tmp_path / "one.png"), "--frame", "12")
    assert done.stdout == f"{tmp_path / 'one.png'}: frame 12 of 12\n"
    done = scp_anon("export", str(source), str(tmp_path / "all.png"), "--all-frames", "--window", "0.5/2")
    assert done.returncode == 0
    assert sorted(path.name for path in tmp_path.glob("all*")) == [f"all_{i:04}.png" for i in range(1, 13)]
    done = scp_anon("export", str(source), str(tmp_path / "two.png"), "--frame", "13")
    assert (done.returncode, done.stderr) == (1, f"{source}: has no frame 13: it has 12\n")
    assert not (tmp_path / "two.png").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Not even by a picture, nor left half done."""
    target = tmp_path / "out.png"
    target.write_text("mine", encoding="ascii")
    done = scp_anon("export", str(EXAMPLE), str(target))
    assert (done.returncode, done.stderr) == (2, f"scp-anon: {target}: a file is there already\n")
    assert target.read_text(encoding="ascii") == "mine"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["out.tiff"], "a picture is a .png or a .jpg file"),
        (["out.png", "--frame", "1", "--all-frames"], "either --frame or --all-frames"),
        (["out.png", "--window", "40"], "--window: CENTER/WIDTH"),
        (["out.png", "--window", "40/0"], "--window: the width is 1 or more"),
        (["out.png", "--window", "nan/nan"], "--window: the width is 1 or more"),
        ([], "rules can be exported for mmiv"),
    ],
    ids=str,
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Exit code 2, and nothing written."""
    done = scp_anon("export", str(EXAMPLE), *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())
    assert scp_anon("export", "missing.dcm", "out.png", folder=tmp_path).returncode == 2


def test_what_has_no_picture(tmp_path: Path) -> None:
    """A reason, exit code 1, and no file; nothing is allocated for what a header only claims."""

    def refusal(change: Callable[[Dataset], object]) -> str:
        ds = gray([0, 1])
        change(ds)
        (tmp_path / "image.dcm").write_bytes(samples.encoded(ds))
        done = scp_anon("export", "image.dcm", "out.png", folder=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out.png").exists()
        return done.stderr

    def claim(ds: Dataset) -> None:
        ds.Rows = ds.Columns = 60000

    assert refusal(lambda ds: ds.pop("PixelData")) == "image.dcm: has no pixel data\n"
    assert refusal(lambda ds: ds.pop("PhotometricInterpretation")).startswith("image.dcm: says nothing of")
    assert refusal(claim) == "image.dcm: its frames are too large\n"
    assert "cannot be decoded" in refusal(lambda ds: setattr(ds, "Rows", 40))
    assert "cannot be decoded" in refusal(lambda ds: setattr(ds, "BitsAllocated", 13))
    (tmp_path / "image.dcm").write_bytes(samples.encapsulated(gray([0, 1])))
    done = scp_anon("export", "image.dcm", "out.png", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "image.dcm: the pixel data of frame 1 cannot be decoded (RuntimeError)\n",
    )


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what to install: for pictures at all, and for a transfer syntax."""
    from pydicom.pixels.decoders.base import get_decoder

    j2k = next((path for path in corpus_files() if path.name == "examples_jpeg2k.dcm"), None)
    if j2k is not None:
        decoder = get_decoder(UID("1.2.840.10008.1.2.4.90"))
        monkeypatch.setattr(decoder, "_available", {})
        with pytest.raises(ConfigError, match=r"to decode JPEG 2000 .* pip install 'scp-anon\[images\]'"):
            Pictures(j2k)
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs NumPy and Pillow: pip install 'scp-anon\[images\]'"):
        Pictures(EXAMPLE)


@pytest.mark.filterwarnings("ignore")  # as the command line has it
@pytest.mark.skipif(not corpus_files(), reason="the corpus of real files is not here")
def test_every_transfer_syntax_of_the_corpus(tmp_path: Path) -> None:
    """Each image gives a picture of its size that shows something, or says why not."""
    from PIL import Image

    by_syntax: dict[str, list[str]] = defaultdict(list)
    for number, path in enumerate(corpus_files()):
        ds = dcmread(path, force=True, stop_before_pixels=True)
        if "Rows" not in ds or "PhotometricInterpretation" not in ds:
            continue
        target = tmp_path / f"{number}.png"
        try:
            Pictures(path).save(1, target)
        except NoPicture as fault:
            assert UNSHOWN.get(path.name, "has no pixel data") in str(fault), path.name
            continue
        assert path.name not in UNSHOWN
        by_syntax[str(ds.file_meta.get("TransferSyntaxUID", ""))].append(path.name)
        with Image.open(target) as image:
            assert image.size == (ds.Columns, ds.Rows), path.name
            assert image.mode in ("L", "RGB")
    assert set(by_syntax) - {""} == SYNTAXES
    assert sum(map(len, by_syntax.values())) > 80


def test_mode_of_the_picture(tmp_path: Path) -> None:
    """As any new file of this user."""
    scp_anon("export", str(EXAMPLE), str(tmp_path / "out.png"))
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out.png", "plain")}
    assert len(modes) == 1
    assert io.BytesIO((tmp_path / "out.png").read_bytes()).read(4) == b"\x89PNG"
