"""What is taken at all, and what is held because its pixels may hold text."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from scp_anon import ConfigError, Deidentifier, Filtered, Reason, Undecodable
from scp_anon.errors import NotAdmitted
from tests import samples
from tests.profiles import SEEN, engine, result

SECONDARY_CAPTURE, ULTRASOUND, XA = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.12.1",
)
PDF, VIDEO = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.77.1.1.1"
HOLDING = Deidentifier(samples.KEY, "project")


def sample(**values: object) -> Dataset:
    """A CT with other values."""
    ds = samples.image()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "values",
    [
        {"BurnedInAnnotation": "YES"},
        {"SOPClassUID": SECONDARY_CAPTURE},
        {"SOPClassUID": ULTRASOUND},
        {"SOPClassUID": PDF},
        {"SOPClassUID": VIDEO},
        {"Modality": "US"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"SeriesDescription": "Patient Protocol"},
        {"SeriesDescription": "Screen Save"},
        {"SeriesDescription": "Dose Report"},
        {"ConversionType": "WSD"},
        {"Manufacturer": "PACSGEAR"},
        {"Modality": "XA", "SOPClassUID": XA, "ImageType": ["DERIVED", "PRIMARY"]},
    ],
    ids=str,
)
def test_held(values: dict[str, object]) -> None:
    """It goes nowhere unless somebody says so: the profile, or whoever has looked at it."""
    with pytest.raises(Undecodable) as raised:
        result(sample(**values), HOLDING)
    assert raised.value.reason == Reason.PIXELS_MAY_IDENTIFY
    assert samples.CANARY not in raised.value.detail
    assert result(sample(**values), engine()).SOPInstanceUID
    assert result(sample(**values), HOLDING, **SEEN).SOPInstanceUID


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"BurnedInAnnotation": "NO"},
        {"SeriesDescription": "AX T2 FLAIR"},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"Modality": "XA", "SOPClassUID": XA, "ImageType": ["ORIGINAL", "PRIMARY"]},
    ],
    ids=str,
)
def test_not_held(values: dict[str, object]) -> None:
    """What scanners make passes."""
    assert result(sample(**values), HOLDING).SOPInstanceUID


def test_a_list_of_ones_own() -> None:
    """In place of the shipped one."""
    mine = {"pixels": "hold", "pixel_rules": [{"when": {"Manufacturer": "Maker"}, "why": "that maker"}]}
    by = Deidentifier(samples.KEY, "project", mine)
    with pytest.raises(Undecodable, match="that maker"):
        result(sample(), by)
    assert result(sample(Manufacturer="Other", BurnedInAnnotation="YES"), by).SOPInstanceUID


ADMIT = [
    {"when": {"CallingAETitle": {"in": ["TRUSTED"]}}, "then": "accept"},
    {"when": {"SOPClassUID": SECONDARY_CAPTURE}, "then": "quarantine"},
    {"when": {"SeriesDescription": {"matches": "(?i)localizer"}}, "then": "filter"},
    {"when": {"Modality": {"in": ["MR", "PT"]}}, "then": "refuse"},
]


@pytest.mark.parametrize(
    ("values", "raised"),
    [
        ({"SOPClassUID": SECONDARY_CAPTURE}, Undecodable),
        ({"SeriesDescription": "Localizer 3"}, Filtered),
        ({"Modality": "PT"}, NotAdmitted),
        ({"SeriesDescription": "Localizer", "Modality": "MR"}, Filtered),
    ],
    ids=str,
)
def test_admit(values: dict[str, object], raised: type[Exception]) -> None:
    """The first that matches decides; what none matches is accepted."""
    by = engine(admit=ADMIT)
    with pytest.raises(raised):
        result(sample(**values), by)
    assert result(sample(**values), by, CallingAETitle="TRUSTED").SOPInstanceUID
    assert result(sample(), by).SOPInstanceUID


def test_refusal_is_known_before_it_is_acknowledged() -> None:
    """From the data set alone, whatever its encoding; what cannot be read is not refused but kept."""
    by = engine(admit=ADMIT)
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        file = samples.encoded(sample(Modality="MR"), syntax)
        data_set = file[samples.data_set_start(file) :]
        assert by.refuses(data_set, syntax, {})
        assert not by.refuses(data_set, syntax, {"CallingAETitle": "TRUSTED"})
        assert not by.refuses(data_set[:50], syntax, {})
    assert not engine().refuses(data_set, syntax, {})


def test_modalities() -> None:
    """A list of what may pass; an instance without a modality is of none of them."""
    by = engine(modalities=["CT", "MR"])
    assert result(sample(), by).Modality == "CT"
    for modality in ("PT", ""):
        with pytest.raises(Undecodable) as raised:
            result(sample(Modality=modality), by)
        assert raised.value.reason == Reason.NOT_ADMITTED


@pytest.mark.parametrize("admit", [[{"when": {"Modalty": "CT"}, "then": "accept"}], [{"when": {}, "then": "accept"}]])
def test_conditions_that_cannot_be_meant(admit: list[dict[str, object]]) -> None:
    """Said at once, with the place."""
    with pytest.raises(ConfigError, match=r"admit\.0\.when"):
        engine(admit=admit)


# ---------------------------------------------------------------------- the tests of dicom-anon, by their names


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("patient-protocol", {"SeriesDescription": "Dose: PATIENT PROTOCOL"}),
        ("screen-save", {"SeriesDescription": "Saved images"}),
        ("screen-save", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
        ("burned-in", {"BurnedInAnnotation": "YES"}),
        ("burned-in", {"BurnedInAnnotation": "Y"}),
        ("converters", {"Manufacturer": "North American Imaging, Inc"}),
        ("converters", {"Manufacturer": "PacsGear"}),
        ("converters", {"ManufacturerModelName": "The DICOM Box"}),
    ],
)
def test_named_tests_hold_whatever_pixels_says(name: str, values: dict[str, object]) -> None:
    """`hold` names what is held although pixels may pass; nothing else is, and who has looked at it may release it."""
    by = engine(hold=[name])
    with pytest.raises(Undecodable) as raised:
        result(sample(**values), by)
    assert raised.value.reason == Reason.PIXELS_MAY_IDENTIFY
    assert result(sample(**values), by, **SEEN).SOPInstanceUID
    others = [other for other in ("patient-protocol", "screen-save", "burned-in", "converters") if other != name]
    assert result(sample(**values), engine(hold=others)).SOPInstanceUID
    assert result(sample(), engine(hold=[name])).SOPInstanceUID


def test_named_tests_are_known_and_named_once() -> None:
    """A name that there is not, or twice."""
    for names in (["patient-protocoll"], ["burned-in", "burned-in"]):
        with pytest.raises(ConfigError):
            engine(hold=names)


@pytest.mark.parametrize("modalities", [["CT", "US"], [], ["ct"]])
def test_every_modality_must_be_listed(modalities: list[str]) -> None:
    """One that is not listed, none at all, or another spelling: not admitted."""
    source = sample()
    source.add_new(0x00080060, "LO", modalities)  # of another VR, as pydicom would not write this
    with pytest.raises(Undecodable) as raised:
        result(source, engine(modalities=["CT", "MR"]))
    assert raised.value.reason == Reason.NOT_ADMITTED
