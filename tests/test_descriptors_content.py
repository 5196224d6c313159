"""Clean Descriptors: descriptions that identify nobody stay whole, whoever the patient is (PS3.15 E.3.5)."""

from __future__ import annotations

import pytest

from scp_anon.deid.descriptors import OwnIdentity, clean, own_identity
from scp_anon.deid.vocabulary import vocabulary

WORDS = vocabulary()
NOBODY = OwnIdentity()
# A patient with a short number, of places whose names are words of descriptions.
PLAIN = own_identity(
    ["Quackenbush^Thaddeus"],
    ["P950874426", "300", "1000", "7"],
    ["19500101"],
    ["CT Abdomen", "MRI Brain", "Radiology", "Chest CT 2", "MR 1.5T", "Nuclear Medicine", "Spine Imaging"],
    ["555 123 4567"],
)

HARMLESS = """
Mild sinus mucosal thickening
ABD/PEL 2.5mm
CT Abdomen arterial
MRI Brain FLAIR
iohexol 300
Omnipaque 350
Ultravist 370 100 ml
CT Abdomen portal venous 5.0
T. Spine
C. spine
L hip
R. knee
HEAD, C-SPINE
Head, Neck
CT Head, Neck and Chest
for contrast
from L1 to S1
by protocol
for stone protocol
CT KUB for stones protocol
from head to toe
PET vertex to thigh
Long axis 2ch
Short axis stack
SAX T2 STIR
cine 4 chamber view
2 Chamber View
3 Chamber LGE
Small bowel follow through
Cross table lateral
Bone window
Bone marrow edema
Foot 3 views left
Hand PA oblique lateral right
Wrist scaphoid views
Black blood T2
Dark blood STIR
White matter lesions
Gray matter segmentation
Field map
B0 field mapping
gre_field_mapping_1
T1 map MOLLI
T2 star map
Fat fraction map
Water image
In phase
Out of phase
Opposed phase
Ax T1 in/out phase
Arterial phase 1.25mm
Venous phase
Delayed 5 min
Nephrographic phase
Early arterial
Late arterial
Portal venous phase
Delayed phase 3 min
Nativ 5mm
Native phase
Pre contrast
Post contrast
post gad
Post Gd T1 sag
T1 C+
T1+C fat sat
Dixon water only
Ax T2 PROPELLER
Ax T2 BLADE
Cor T2 haste
Sag T1 TSE
SAG T1 FSE C-SPINE
Ax T2 L-spine L1-S1
L3-S1 axial stacked
C2-T1 axial
Level L4/L5
Thin cut 0.5mm
Soft tissue 3mm
Lung window 1mm
Mediastinal window
MIP 10mm
MinIP 5mm
VRT heart
3D VR
Curved MPR LAD
Curved MPR RCA
Calcium score
CTA runoff
CTA aorta thorax abdomen pelvis
CTA Circle of Willis
CTV venous
CT perfusion CBF
CBV map
MTT
Tmax
TTP
CT brain perfusion RAPID
DWI b0
DWI b1000
ADC map
eADC 1000
DTI 64 directions
DTI FA color
tractography
SWI minIP
SWI phase
Phase image
Magnitude image
MRA TOF neck
MRV 2D TOF
PC MRV
ASL CBF
MR spectroscopy single voxel TE 144
PRESS TE 35
CSI TE 135
fMRI finger tapping
resting state fMRI
task language
MPRAGE 1mm iso
T1 SPACE
T2 SPACE sag
CISS 3D IAC
FIESTA IAC
3D FLAIR
Sag 3D CUBE
VISTA
BRAVO
mDIXON
LAVA flex
THRIVE dynamic
VIBE dynamic 5 phases
Dynamic pituitary
Sella coronal
Orbits T1 fat sat
Temporal bone left
IAMs
Posterior fossa
TMJ open mouth
TMJ closed mouth
Brachial plexus coronal STIR
Shoulder arthrogram
Elbow flexed
Ankle mortise
Knee sunrise view
Patella axial
Tunnel view
Hip frog leg lateral
Pelvis inlet outlet
Judet views
SI joints
Scoliosis series standing
Bending left
Flexion extension
Odontoid open mouth
Swimmers view
Ribs oblique
Chest decubitus left
Chest expiration
Chest inspiration
Portable chest supine
Abdomen upright
Abdomen 2 views
Acute abdominal series
Upper GI series
Barium enema
Small bowel enteroclysis
Esophagram
Modified barium swallow
VCUG
IVP
Hysterosalpingogram
ERCP
PTC drainage
Cholangiogram intraop
Arthrogram shoulder right
Myelogram lumbar
Lumbar puncture fluoro
C-arm images
Angiogram lower extremity
Cerebral angiogram left ICA
Coronary angiogram RCA LAO 45
LV gram RAO 30
Pacemaker placement
PICC line placement
TACE liver
Renal artery stent
IVC filter
Fistulogram
Mammogram screening
Diagnostic mammogram left
Spot magnification CC
Implant displaced views
Tomosynthesis MLO
Breast MRI dynamic subtracted
Subtraction 1
Kinetic curve
Breast ultrasound targeted
Thyroid US transverse
Right lobe thyroid
Carotid bulb
Common carotid artery left
Vertebral artery flow
Gallbladder
Common bile duct
Pancreas tail
Liver longitudinal
Portal vein doppler
Hepatic veins
Right kidney long
Left kidney transverse
Bladder pre void
Bladder post void
Prostate transrectal
Scrotum
Uterus sagittal
Endometrium
Left ovary
Fetal biometry
Fetal heart
Nuchal translucency
Umbilical artery
Placenta
Cervix length
DVT leg left
Popliteal vein compression
Ankle brachial index
Echo apical 4 chamber
Parasternal long axis
Parasternal short axis
Subcostal view
M-mode
Tissue doppler
Strain imaging
TEE
Stress echo
Bone scan 3 phase
Blood pool
Flow images
SPECT CT
Attenuation corrected
Non attenuation corrected
Rest MIBI
Stress MIBI
Thallium
Gastric emptying
Renal MAG3
Parathyroid sestamibi
Sentinel node
Thyroid uptake scan
Octreotide scan
PSMA PET
FDG PET skull to thigh
Amyloid PET
Dose summary
Dose info
Smart prep
SmartPrep series
Bolus tracking
Premonitoring
Scout lateral
Scout AP
Localizer 3 plane
Calibration scan
Shim
Reference scan
Coil sensitivity
Noise scan
Phantom QA
ACR phantom T1
Daily QA
Screen capture
Secondary capture
Presentation state
Key object note
Report
RT dose
RT plan prostate
RT structure set
Treatment record
Planning CT head mask
CBCT fraction 1
DRR
Portal image
Whole body low dose
Spine T2 sag composed
Whole spine sag
Neck soft tissue with contrast
Neck CTA
Sinus coronal
Facial bones 3D
Mandible panorex
Maxillofacial
Orbit foreign body
Trauma chest abdomen pelvis
Pulmonary embolism
Aortic dissection
TAVI planning
Cardiac gated 75%
Retrospective gating 40-80%
Prospective 70%
LA appendage
Pulmonary veins
High resolution chest insp
Expiration
Prone
Low dose lung nodule
Urogram
CT cystogram
CT enterography
CT colonography supine
Virtual colonoscopy prone
Adrenal washout
Liver triphasic
Pancreas protocol
Renal mass protocol
Ax 3D T1 VIBE fs tra bh 20 min
Hepatobiliary phase 20 min
Ax DWI 50 400 800
Ax dual echo
MRCP thick slab
MRCP 3D
Rectum oblique T2
Prostate T2 axial small FOV
Cervix T2 oblique
Fistula protocol
Hip labrum
Shoulder MR arthro
Wrist MR coronal
Ankle MR sagittal PD
Forefoot
Achilles tendon
Thigh muscles
Calf
Lumbosacral plexus
Spinal cord compression
Myelo 3D
CSF flow
Head first supine
Feet first prone
Recon 1 soft tissue
Kernel Br40
AIDR 3D
iDose 4
ASIR 40
SAFIRE 3
Degenerative changes lumbar spine
No acute intracranial abnormality
Unremarkable study
Small pleural effusion left
Cholelithiasis
Hepatic steatosis
Ground glass opacity right upper lobe
Multiple pulmonary nodules
Fracture distal radius
Post operative changes
Status post fusion L4 L5
Meniscal tear
Rotator cuff tear
Disc herniation L5/S1
Ligamentum flavum thickening
Mastoid effusion
Chronic microvascular ischemic changes
""".strip().split("\n")


@pytest.mark.parametrize("own", [NOBODY, PLAIN], ids=["nobody", "a patient of plain words"])
def test_harmless_descriptions_stay_whole(own: OwnIdentity) -> None:
    """To the letter."""
    assert len(HARMLESS) >= 350
    assert not {text: clean(text, own, WORDS) for text in HARMLESS if clean(text, own, WORDS) != text}


@pytest.mark.parametrize(
    "place", ["CT Abdomen", "MRI Brain", "Chest CT", "Body MRI", "Nuclear Medicine", "Bone Density", "Abdomen", "MR 3T"]
)
def test_places_of_plain_words_take_nothing(place: str) -> None:
    """An institution or department that is called as descriptions are."""
    own = own_identity([], [], [], [place], [])
    for text in (f"{place} arterial", f"{place} FLAIR", place, f"T1 {place.lower()} axial"):
        assert clean(text, own, WORDS) == text


@pytest.mark.parametrize("place", ["Head Clinic", "Stone House", "Cross Hospital", "Klinik Am Stein", "Long Institute"])
def test_places_that_are_named_go_whole(place: str) -> None:
    """With a kind of place, or somebody's name, words that are plain are a name; elsewhere they stay."""
    own = own_identity([], [], [], [place], [])
    assert clean(f"MR knee {place} T1", own, WORDS) == "MR knee T1"
    assert clean(f"MR knee {place.replace(' ', '_')} T1", own, WORDS) == "MR knee T1"
    assert clean("MR head, long axis, stone protocol", own, WORDS) == "MR head, long axis, stone protocol"


@pytest.mark.parametrize("number", ["300", "350", "1000", "7", "42", "100", "2500", "050"])
@pytest.mark.parametrize("text", ["iohexol {}", "b{}", "DWI b {}", "{} mm", "TE {} TR 4000", "Omnipaque {} 80 ml"])
def test_a_short_number_is_a_measure(number: str, text: str) -> None:
    """A Patient ID that is a short or a round number takes no dose and no b value."""
    text = text.format(number)
    assert clean(text, own_identity([], [number], [], [], []), WORDS) == text == clean(text, NOBODY, WORDS)


@pytest.mark.parametrize("number", ["300", "42", "1000", "350"])
@pytest.mark.parametrize(
    "text",
    ["MRN {} chest", "ID: {} chest", "patient {} chest", "Subject {} chest", "{}", "Pat.-Nr. {} chest", "ID{} chest"],
)
def test_a_short_number_is_an_identifier_where_a_text_calls_it_so(number: str, text: str) -> None:
    """After a label, or where it is all there is."""
    left = clean(text.format(number), own_identity(["Xyzzy"], [number], [], [], []), WORDS)
    assert number not in left or number == "42"  # of two digits only what is labelled goes, for anybody
    assert number not in clean(f"MRN {number} chest", NOBODY, WORDS)
