"""Frames of a DICOM image as pictures of eight bits, PNG or JPEG: what `export` makes.

Native and compressed pixel data by pydicom's decoders; the modality's rescale, the window, and the photometric
interpretation are applied, overlays are drawn if that is wanted. NumPy and Pillow are an extra, and are asked for in
here only.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scp_anon.dicom.whole import read_whole
from scp_anon.errors import ConfigError, ScpAnonError
from scp_anon.filesystem import written_aside
from scp_anon.overlays import BadOverlay, burn

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_EXTRA: Final = "pip install 'scp-anon[images]'"
_LARGEST: Final = 1 << 28  # samples of one frame: what a whole slide has in its largest, and no more
_WHITE: Final = 255.0
_QUALITY: Final = 95  # of JPEG


class NoPicture(ScpAnonError):
    """There is nothing to show in this file, or nobody here can show it; the message says why."""


class Window(NamedTuple):
    """A window: its center and width, and the function of PS3.3 C.11.2.1 that it is of."""

    center: float
    width: float
    function: str = "LINEAR"


class Pictures:
    """The frames of one file."""

    def __init__(self, path: Path, window: Window | None = None, with_overlays: bool = False) -> None:
        """`window` instead of the file's own; `with_overlays` has them burned in.

        Raises NoPicture, Undecodable, ConfigError where a package is missing.
        """
        for package in ("numpy", "PIL"):
            if find_spec(package) is None:
                raise ConfigError(f"export needs NumPy and Pillow: {_EXTRA}")
        self._window = window
        self._with_overlays = with_overlays
        self._data_set = read_whole(path)
        _check_pixels(self._data_set)
        syntax = _transfer_syntax(self._data_set)
        _check_decoder(syntax)
        # From the file one frame is read at a time, if pydicom finds it there.
        from_file = not syntax.is_deflated and "TransferSyntaxUID" in self._data_set.file_meta
        self._data_set.file_meta.TransferSyntaxUID = syntax
        self._source = path if from_file else self._data_set
        self.count = _whole_number(self._data_set, "NumberOfFrames", 1)

    def save(self, number: int, target: Path) -> None:
        """Write frame `number`, from 1, as a new file. Raises NoPicture, FileExistsError, OSError."""
        image = self._image(number)
        with written_aside(target) as aside:
            try:
                image.save(aside, FORMATS[target.suffix.lower()], quality=_QUALITY)
            except (ValueError, SystemError) as error:  # Pillow's words for what the format cannot hold
                raise NoPicture(f"cannot be a picture of this kind ({type(error).__name__})") from None

    def _image(self, number: int) -> Image:
        from PIL import Image
        from pydicom.pixels.utils import pixel_array

        try:
            pixels: Any = self._eight_bits(pixel_array(self._source, index=number - 1), number - 1)
            if self._with_overlays:
                pixels = pixels.copy()  # decoders may give what cannot be written to
                burn(self._data_set, number, pixels)
            return Image.fromarray(pixels)
        except BadOverlay as error:
            raise NoPicture(str(error)) from None
        except (OSError, MemoryError, NoPicture):
            raise
        except Exception as error:
            # Decoders raise whatever they do, and may put values into the text.
            raise NoPicture(f"the pixel data of frame {number} cannot be decoded ({type(error).__name__})") from None

    def _eight_bits(self, pixels: Any, index: int) -> Any:
        """Gray or RGB of eight bits for decoded pixels."""
        from pydicom.pixels.processing import apply_color_lut

        ds = self._data_set
        if str(ds.PhotometricInterpretation) == "PALETTE COLOR":
            colors = apply_color_lut(pixels, ds)
            return _scaled(colors, 8 * colors.itemsize)[..., :3]
        if pixels.ndim == 3 and pixels.shape[-1] == 3:
            return _scaled(pixels, int(ds.get("BitsStored", 8)))
        if pixels.ndim != 2:
            raise NoPicture(f"frames of the shape {'x'.join(map(str, pixels.shape))} cannot be shown")
        gray = self._gray(pixels, index)
        inverse = str(ds.PhotometricInterpretation) == "MONOCHROME1" or ds.get("PresentationLUTShape") == "INVERSE"
        return 255 - gray if inverse else gray

    def _gray(self, pixels: Any, index: int) -> Any:
        """One sample a pixel: the modality's transformation, then the window, the VOI LUT, or all that there is."""
        from pydicom.pixels.processing import apply_voi

        ds = self._data_set
        values = _rescaled(pixels, _with_group(ds, index, "PixelValueTransformationSequence"))
        presented = _with_group(ds, index, "FrameVOILUTSequence")
        window = self._window or _window_of(presented)
        if window is not None:
            return _windowed(values, window)
        if presented.get("VOILUTSequence"):
            bits = int(presented.VOILUTSequence[0].LUTDescriptor[2])
            return _scaled(apply_voi(values, presented), bits)
        return _stretched(values)


def _check_pixels(data_set: Dataset) -> None:
    """Raises NoPicture for what is no image, or one larger than we want to hold."""
    if not any(keyword in data_set for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise NoPicture("has no pixel data")
    rows, columns, samples = (_whole_number(data_set, name, 1) for name in ("Rows", "Columns", "SamplesPerPixel"))
    if rows * columns * samples > _LARGEST:
        raise NoPicture("its frames are too large")
    if "PhotometricInterpretation" not in data_set:
        raise NoPicture("says nothing of its Photometric Interpretation")


def _transfer_syntax(data_set: Dataset) -> UID:
    """The transfer syntax; where none is given, the one that the data set was found to have."""
    given = data_set.file_meta.get("TransferSyntaxUID")
    return (
        UID(str(given))
        if given
        else ImplicitVRLittleEndian
        if data_set.original_encoding[0]
        else ExplicitVRLittleEndian
    )


def _check_decoder(uid: UID) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        raise NoPicture(f"there is no decoder here for {uid.name}") from None
    if not decoder.is_available:
        raise ConfigError(f"to decode {uid.name} a package is missing: {_EXTRA}")


def _whole_number(data_set: Dataset, keyword: str, least: int) -> int:
    """A number of the data set, `least` where it is missing. Raises NoPicture for what is none."""
    try:
        return max(int(data_set.get(keyword) or least), least)
    except Exception:  # pydicom raises whatever its parts do
        raise NoPicture(f"{keyword} is no number") from None


def _with_group(data_set: Dataset, index: int, keyword: str) -> Dataset:
    """The functional group macro of a frame if the image has functional groups, else the data set itself."""
    for name, number in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        groups = data_set.get(name) or ()
        if number < len(groups) and groups[number].get(keyword):
            group: Dataset = groups[number][keyword].value[0]
            return group
    return data_set


def _rescaled(pixels: Any, data_set: Dataset) -> Any:
    """Stored values as the modality's (PS3.3 C.11.1)."""
    from pydicom.pixels.processing import apply_modality_lut

    if data_set.get("ModalityLUTSequence"):
        return apply_modality_lut(pixels, data_set)
    slope, intercept = data_set.get("RescaleSlope"), data_set.get("RescaleIntercept")
    return pixels * float(slope or 1) + float(intercept or 0) if slope or intercept else pixels


def _window_of(data_set: Dataset) -> Window | None:
    """The first window of a data set; None where there is none that can be meant."""
    centers, widths = data_set.get("WindowCenter"), data_set.get("WindowWidth")
    try:
        center, width = (float(each[0] if hasattr(each, "__getitem__") else each) for each in (centers, widths))
    except (TypeError, ValueError, IndexError):
        return None
    function = str(data_set.get("VOILUTFunction") or "LINEAR")
    return Window(center, width, function) if width > 0 and (width >= 1 or function != "LINEAR") else None


def _windowed(values: Any, window: Window) -> Any:
    """Gray values through a window (PS3.3 C.11.2.1)."""
    import numpy as np

    x = values.astype("float64") - window.center
    if window.function == "SIGMOID":
        y = 1 / (1 + np.exp(np.clip(-4 * x / window.width, -700, 700)))
    elif window.function == "LINEAR_EXACT":
        y = x / window.width + 0.5
    elif window.width == 1:
        y = (x > -0.5).astype("float64")
    else:
        y = (x + 0.5) / (window.width - 1) + 0.5
    return _rounded(y)


def _stretched(values: Any) -> Any:
    """Gray values from the least to the greatest."""
    import numpy as np

    values = np.nan_to_num(values.astype("float64"))
    least, most = values.min(), values.max()
    return _rounded((values - least) / (most - least) if most > least else values - least)


def _scaled(values: Any, bits: int) -> Any:
    """Samples of so many bits as samples of eight."""
    return values.astype("uint8") if bits == 8 else _rounded(values.astype("float64") / (2**bits - 1))


def _rounded(fractions: Any) -> Any:
    import numpy as np

    return np.clip(np.nan_to_num(fractions) * _WHITE + 0.5, 0, _WHITE).astype("uint8")


def numbered(target: Path, count: int) -> Iterator[tuple[int, Path]]:
    """The number of each frame, and where it goes: before the ending, with as many digits as the last one has."""
    digits = max(len(str(count)), 4)
    for number in range(1, count + 1):
        yield number, target.with_name(f"{target.stem}_{number:0{digits}}{target.suffix}")
