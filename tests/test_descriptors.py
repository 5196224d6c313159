"""Clean Descriptors: what stays of a text, what never does, and the laws of both (PS3.15 E.3.5)."""

from __future__ import annotations

import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts

from scp_anon.deid.descriptors import OwnIdentity, clean, own_identity
from scp_anon.deid.vocabulary import TOKEN, canonical, fold, keys_of, listed, names, vocabulary
from scp_anon.errors import ConfigError

WORDS = vocabulary()
NOBODY = OwnIdentity()
SOMEBODY = own_identity(
    names=["Müller^Anne-Marie^^Dr=ミュラー^アンネ", "Head^John\\de la Cruz^Ana", "O'Young^Brown", "Hu^Li", "AB"],
    ids=["00123456", "A-12/77", "LUNG-0042", "7"],
    dates=["19700510", "1999", "", "not a date"],
    places=["Head Clinic, Main Street 5, 10115 Berlin", "CT01", "RADIOLOGY"],
    phones=["+49 30 1234567"],
)

# Descriptions of series, studies and protocols as scanners and departments write them: one per line.
DESCRIPTIONS = """
Thorax^1_THORAX_ABD (Adult)
AX T2 FLAIR FS +C
t1_mprage_sag_p2_iso
MR Knie rechts
IRM cerebrale
US ABDOMEN COMPLETE
PET AC WB
Topogram 0.6 T80f
Lung 1.0 Bl57 S3
dMRI_dir98_AP
XR CHEST PA AND LAT
MAMMO SCREENING BILATERAL
Neck^HeadNeckCTA (Adult)
ep2d_diff_b50_400_800_ADC
CT CHEST W CONTRAST
CT ABDOMEN AND PELVIS WITHOUT CONTRAST
CT HEAD W/O CONTRAST
CT ANGIO CHEST PE PROTOCOL
CT Abdomen/Pelvis w IV and oral contrast
CTA HEAD AND NECK W WO CONTRAST
Thorax 5.0 B31f
Thorax 1.0 B70f
ThorRoutine 3.0 B41s
Abdomen 3.0 I40f 3
AbdRoutine 5.0 B30f
Abdomen^01_ABD_NATIV (Erwachsener)
Head^1_HEAD_SEQ (Adult)
HeadSeq 4.8 H31s
Spine^L_SPINE (Adult)
Cor 2.0 MPR
SAG 3.0 mm
Dose Report
Patient Protocol
PreMonitoring
Monitoring 10.0 B20f
TestBolus
CaScSeq 3.0 B35f 65%
CoronaryCTA 0.75 Bv40 BestDiast 72 %
DS_CaSc 3.0 Qr36 3 65%
LUNG 1.25MM
STANDARD 5MM AXIAL
BONE PLUS 0.625
Recon 2: CHEST ABD PELVIS
Recon 3: THIN LUNG
AXIAL 2.5MM WITHOUT
SCOUT
Scouts
3-Plane Loc SSFSE
3 PLANE LOC
LOCALIZER
localizer_sag
AAHead_Scout
AAHead_Scout_MPR_cor
Survey
SURVEY_HEAD
WIP T1W_TSE
sT1W_3D_TFE
T2W_TSE_AX
T1W_SE_SAG
T2W_FLAIR SENSE
DWI_b1000
dDWI 3 b-values
eADC
ADC (10^-6 mm2/s)
isoDWI
ep2d_diff_3scan_trace_p2_TRACEW
ep2d_diff_mddw_20_p2_FA
ep2d_bold_moco_p2
ep2d_perf
resolve_3scan_trace_tra_192_ADC
t2_tse_tra_512
t2_tse_sag_p2_320
t2_haste_cor_mbh
t2_tirm_cor_dark-fluid
t2_space_dark-fluid_sag_p2_iso
t1_vibe_fs_tra_dyn
t1_vibe_dixon_tra_bh_W
t1_fl3d_sag_iso
t1_tse_fs_tra_320 km
t1_se_tra post KM
t2_blade_tra_fs
pd_tse_fs_sag
swi3d_tra_p2_1.5mm_mIP_Images(SW)
tof_fl3d_tra_p2_multi-slab
TOF_3D_multi-slab_MIP_COR
SWI_Images
mIP_Images(SW)
Pha_Images
Mag_Images
PhoenixZIPReport
gre_field_mapping
fMRI rest run 2
rfMRI_REST_AP_SBRef
tfMRI_MOTOR_LR
T1w_MPR_vNav
SpinEchoFieldMap_AP
BOLD_NBACK_PA
func_task-rest_run-01_bold
anat-T1w
dwi_acq-b1000_dir-AP
ASL_3D_tra_iso
pcasl_3d_m0
MRCP 3D RADIAL SLAB
Ax T1 FSPGR Fat Sat POST
Ax 3D LAVA-Flex+C
Sag T2 FRFSE
Cor STIR
COR T1
AX PD FS
SAG PD FAT SAT
Ax DWI b=50,400,800
Apparent Diffusion Coefficient (mm2/s)
Ax T2* GRE
AX SWAN
3D TOF MRA COW
MIP COW
CINE SAX
cine_retro_iPAT_4ch
tfi2d1_r15_SAX
PSIR LGE 4CH
T1 MOLLI native
Phase contrast flow aorta
MRI BRAIN W WO CONTRAST
MRI LUMBAR SPINE WITHOUT CONTRAST
MRI LEFT KNEE W/O
MRI PELVIS PROSTATE MULTIPARAMETRIC
MR Breast Bilateral Dynamic
MRT Schädel nativ und KM
MRT LWS
MRT Kniegelenk links
CT Thorax/Abdomen mit KM
CT Schädel nativ
CT Hals-Thorax-Abdomen
CT Nasennebenhöhlen
CT Becken nativ
Röntgen Thorax p.a.
Rö Hand links 2 Ebenen
Sonographie Abdomen
Schädel-CT nativ 5.0 mm
Angio-CT Pulmonalarterien
Mammographie beidseits
Beckenübersicht a.p.
IRM genou droit
IRM rachis lombaire sans injection
IRM de la cheville gauche
Scanner thoraco-abdomino-pelvien avec injection
TDM thorax
Radiographie du thorax de face
Echographie abdominale
Angioscanner des artères pulmonaires
Radio bassin face
TAC de tórax con contraste
RM cerebral sin contraste
RX TORAX PA Y LATERAL
Ecografía abdominal
RM RODILLA DERECHA
Radiografía de columna lumbar
CT thorax med kontrast
MR hode
MR kne venstre
RTG thorax
CT Caput uten kontrast
MR LS columna
UL abdomen
PET CT WHOLE BODY FDG
PET WB NAC
PET CT SKULL BASE TO MID THIGH
CT WB 5.0 HD_FoV
AC CT 4.0
WB PET 3D AC
[WB_CTAC] Body
PET Corrected
FDG Brain 3D
Ga-68 DOTATATE PET
Bone Scan Whole Body
NM MYOCARDIAL PERFUSION REST STRESS
Stress Gated SPECT
MUGA
TX AC 2.0
HEPATOBILIARY SCAN HIDA
V/Q SCAN
Thyroid uptake I-123
US RENAL
US PELVIS TRANSVAGINAL
US OB < 14 WEEKS
US THYROID
US CAROTID DUPLEX BILATERAL
US GUIDED BIOPSY BREAST LEFT
Echo TTE
Venous doppler lower extremity right
XR KNEE 3 VIEWS RIGHT
XR HAND LEFT 2V
CHEST PORTABLE AP
C-SPINE LAT FLEX/EXT
L5/S1 spot
PELVIS AP
ABDOMEN KUB
SHOULDER Y VIEW
R CC
L MLO
RMLO tomo
L CC C-View
BI-RADS spot compression
CARDIAC CATH LAO 30 CRAN 20
XA CORONARY LCA
Fluoro barium swallow
DSA cerebral
RT Planning CT 3mm
RTSTRUCT plan 1
4D CT 50% phase
CBCT
SEG lung nodules
Screen Save
Key Images
Circle of Willis MIP
White matter lesions
Parkinson disease protocol DaTscan
Baker cyst knee
Scaphoid views
TR 2000 TE 30
TI 1900
b0_b1000_b2000
MR BRAIN 3T 64CH
CT Chest High Resolution (HRCT) insp/exp
Lung LOW DOSE SCREENING
POST-OP HIP AP LAT
Trauma series C/A/P
CT stone protocol
CT IAC/temporal bones
CT sinus without contrast
MR enterography
MR ABD/MRCP W+WO
Axial 5/5
Series 2 of 3
""".strip().split("\n")

# Others, as public repositories have them: some of their words mean something at one place only.
PUBLISHED = """
Thorax Routine
Thorax
ThorRoutine 2.0 B80f
Thin slices
Axial T1
AXIAL_T2_SPACE
Ax LAVA Gado
ABCD_T1w_MPR_vNav
AI Spine Segmentation
AXIAL 1.0
Axial CT
FLAIR Axial
FLAIR
FACES1
Flat Field
fmap_task-learning
FLAIR_TRA
32_FLAIR_1mm_ipat2
FLAIR_3D
Coronal Demo CT
COR STIR
Corrected
CORONAL REFORMATS
Cor FSE PD
COR T1 POST
COR FLAIR
PITUITARY WITH AND WITHOUT IV CONTRAST
BOLD_rest
BOLD_resting
BOLUS MONITOR
bold_task-learning
BODY THIN PARTIAL
b0-gre-field-mapping
LEFT KNEE
Lateral Spine
XR HIPS TO ANKLES LEG MEASUREMENTS
Lower limbs
Loc
Synthetic Cardiac Dataset
standard_tra
Segmentation
RIGHT KNEE PATIENT-SPECIFIC FREE TEXT
Report from AI algorithm. Not for clinical use
rfMRI_TASK_AP_SBRef
RIGHT CORONARY ARTERY
REST_SBRef
MPRAGE_sag
MPRAGE_SAGITTAL
Multi-organ AI segmentation consensus
ME_GRE
MOOSE segmentations measurements
Magnitude
XR Chest
X QUANG NGUC
XA CARDIAC CATH
XR HIP LT 1 VW
PANC. avec C.A.  PRIMAIRE -TP
PA and Lateral Chest
PET-CT Whole Body FDG
Planning CT
PORTABLE CHEST
STD CTAC
PET / CT TUMOR IMAGING
Abdomen CT
Adolescent Brain Cognitive Development Study
No Finding
Thorax std /Thorax
Phoenix Document
4.1 PET_WB LOW BMI
CBM_encefalo_SEQ
HRUDNIK_STUDIE
CBU_DTI_64D_1A
mtgre_noMT
PRF_cmrr_mbep2d_bold_1pt8_G2_MB3_PA_run1
TSE_HiResHp
T1w_MPR_vNav_4e
t1_mprage_0.9mm
iso_avatar
t1_mpr_sag_p2_iso_2_MR
long_rsfmri_p-a
CRANE+POLYGONE
Cardiac CT with Advanced Analysis
CT thorax met iv contrast
THOMAS ALL LR SEG
3Plane Loc fgre
32_FLAIR_1mm_ipat2_ORIG
3D T1w
3D Ax T1 +C
3D AX T1 BRAVO+C
3D CBCT Image
epi_dti
Echokardiografische Untersuchung (#7)
GRE
Genomic-Correlated CT Scan
gre_field_mapping_32ch
GRE_FIELD_MAPPING
gre_field_mapping_2.5x2.5x3
GRE Scout
half dose
HEAD
Head CT without contrast
H&E stained slide
HSI-Measurement
HELICAL CHEST
VMAT Treatment Plan
VOL MEDIASTINO
VIBRANT
VmDIXON-W
wb ctac
WRIST 0.6
Whole Body Composition
WB_2D NAC
2D WBCT/PET LEGS
BRAIN
BMD TEST
Brain MRI with contrast
BREAST IMAGING TOMOSYNTHESIS
BRAIN SELLA
Jaw and teeth
USG ABDOMEN
Ultrassonografia Abdominal
UCLA Head 3T^Routine
Uploaded XRays
US thyroid
Test Study
Torax
Hand X-ray AP view
Liver biopsy, suspected carcinoma
Linkable Research Dental Imaging Study
LATERAL CEPHALOGRAM
LOW_EXM
local TRX A/B/C QA
Leg
Chest
Coro DS_CorCTA 0.75 Bv36 3 BestDiast
CT Series 1
Chest Radiography
Chest PA
Computational Pathology Report
Chest CT with contrast
cmrr_mbep2d_bold 1.80 RUN1
CaSc
Image Series
Initial 4F Plan
IRSPGR_PROMO
NM-GRE_ND
NHP_DTI_30dir_iPAT4_AP
n/a
Exported from pyCERR
Horos Cloud Report
""".strip().split("\n")

# A text, and what may not be left of it.
IDENTIFYING = """
CT CHEST W CONTRAST for Mr Smith 01/02/2024 => Mr Smith 01 02 2024
MR BRAIN - John Doe => John Doe
Knee Smith, John DOB 12.03.1965 => Smith John DOB 12 03 1965
CT ABDOMEN SMITH^JOHN => SMITH JOHN
US Abdomen Frau Müller => Frau Müller
Thorax pa Hr. Schmidt geb. 01.04.1950 => Hr Schmidt geb 01 04 1950
IRM genou M. Dupont => Dupont
IRM genou Mme Lefèvre née Dubois => Mme Lefèvre née Dubois
RX torax Sra. García López => Sra García López
MR hode Ola Nordmann 010170 12345 => Ola Nordmann 010170 12345
CT HEAD MRN 1234567 => 1234567
CT HEAD MRN: 00-12-34 => MRN 00 12 34
Head ID#4711 => 4711
Chest ACC 2024-001234 => 2024 001234
Chest Acc. No. A123456 => A123456
Accession: 98765 pelvis => 98765
Pat.-Nr. 445566 Abdomen => 445566
Case no 123 liver => 123
SSN 123-45-6789 brain => 123 45 6789
NHS 943 476 5919 spine => 943 476 5919
Chest call 555-123-4567 => 555 123 4567
Chest tel +47 22 33 44 55 => 47 22 33 44 55
Chest Tel. 030/1234567 => 030 1234567
Chest (555) 123-4567 => 555 123 4567
Chest 06 12 34 56 78 => 06 12 34 56 78
Chest phone 555-1234 => 555 1234
send to john.smith@hospital.org head => john smith hospital org
see http://pacs.example.com/patient/42 head => pacs example com 42
www.smith-clinic.de knee => www smith clinic
host pacs01.klinikum-nord.de head => pacs01 klinikum nord
ip 192.168.1.12 chest => 192 168 12
1.2.840.113619.2.55.3.604688119 chest => 840 113619 604688119
Chest 2024-02-29 => 2024 02 29
Chest 20240229 => 20240229
Chest 29.02.2024 => 29 02 2024
Chest 29/2/24 => 29 24
Chest 02/29/2024 => 02 29 2024
Chest 29 Feb 2024 => 29 Feb 2024
Chest Feb 29, 2024 => Feb 29 2024
Chest 29th of February 2024 => 29th February 2024
Chest 3. März 2021 => März 2021
Chest le 3 août 2021 => août 2021
Chest 5 de mayo de 2020 => mayo 2020
Chest 17. desember 2019 => 17 desember 2019
Chest March 2019 => March 2019
Chest 03/2019 => 03 2019
Chest 2019 => 2019
Chest 29Feb2024 => 29Feb2024
Chest_2024_02_29 => 2024 02 29
Chest 24.12. 10:30 => 24 12 10 30
Chest 10:30:15 => 10 30 15
Chest 10:30 pm => 10 30 pm
Chest 2024-02-29T10:15 => 2024 02 29T10 15
referred by Dr. Jane Roe => Jane Roe
seen by Dr Brown in clinic => Brown
ref by A. Kowalski, head CT => A Kowalski
Ref: Dr. Nguyen chest => Nguyen
reported by Prof. Dr. med. Hans Huber => Hans Huber Prof
dictated by J. Q. Public MD => J Q Public MD
read by Young => Young
read by: Peter Long => Peter Long
CT Thorax (Dr. Long) => Long
MR KNEE DR. HEAD => HEAD
FOR DR LONG chest => LONG
Patient: Maria Hand, knee => Maria Hand
Pt John Long chest => John Long
Name: Rossi Giulia addome => Rossi Giulia
Patient Name=Kim, Min-jun head => Kim Min jun
überwiesen von Dr. Becker => Becker
befundet von Schneider => Schneider
prescrit par Dr Moreau => Moreau
informado por Dra. Ruiz => Ruiz
henvist av lege Hansen => Hansen
chest Mrs. Grace Day => Grace Day
chest Miss May Love => May Love
Herr Prof. Stein Schulter => Stein
Frau Klein Knie => Klein
Sr. Delgado rodilla => Delgado
Mr. Green & Mrs. White brain => Green White
SMITHJOHN19700101 chest => SMITHJOHN19700101
chest_smith_john_1970 => smith john 1970
J.Smith head => J Smith
head J. R. R. Tolkien => J R Tolkien
O'Brien chest => O'Brien Brien
McDonald knee => McDonald
van der Berg knie => Berg van
de la Cruz rodilla => Cruz
Ludwig-van-Straße 12, 80331 München thorax => Ludwig 12 80331 München Straße
221B Baker Street London chest => 221B Baker Street London
10115 Berlin chest => 10115 Berlin
0450 Oslo chest => 0450 Oslo
SW1A 1AA chest => SW1A 1AA
K1A 0B1 chest => K1A 0B1
St. Mary Hospital CT chest => Mary
Mayo Clinic Rochester MR brain => Mayo Rochester
Universitätsklinikum Heidelberg CT => Heidelberg
Parkinson, head CT => Parkinson
Baker knee => Baker
Down chest Mr Hodgkin => Hodgkin
chest case 2024/0815 => 2024 0815
spine 700101-1234 => 700101 1234
brain AB12CD34 => AB12CD34
brain f81d4fae-7dec-11d0-a765-00a0c91e6bf6 => f81d4fae 7dec 11d0 a765 00a0c91e6bf6
brain 00:1a:2b:3c:4d:5e => 00 1a 2b 3c 4d 5e
brain #123456 => 123456
brain No. 42 => 42
room 12 Schmidt brain => Schmidt 12
head 山田太郎 => 山田太郎
head Иванов => Иванов
head Y\u0131lmaz => Y\u0131lmaz
head Smith's => Smith's Smith
CT CHEST FOR MR. HAND => HAND
CT Chest Dr. Foot => Foot
""".strip().split("\n")


def words_of(text: str) -> list[str]:
    """The runs of letters and digits of a text."""
    return re.findall(r"[^\W_]+", text)


def follows(short: list[str], long: list[str]) -> bool:
    """Whether `short` is `long` with some of it left out."""
    rest = iter(long)
    return all(word in rest for word in short)


def test_descriptions_survive() -> None:
    """What says nothing about a person stays as it is, to the letter; beside somebody's identity, too."""
    changed = {text: clean(text, NOBODY, WORDS) for text in DESCRIPTIONS if clean(text, NOBODY, WORDS) != text}
    assert len(DESCRIPTIONS) >= 150
    assert not changed
    strangers = own_identity(["Nordahl^Kristoffer"], ["0815-4711"], ["19511224"], ["Oakridge Clinic"], ["555-0199"])
    assert [clean(text, strangers, WORDS) for text in DESCRIPTIONS] == DESCRIPTIONS


def test_most_of_what_others_write_survives() -> None:
    """Of descriptions that the vocabulary has not been made for, some words of one place go."""
    kept = [text for text in PUBLISHED if clean(text, NOBODY, WORDS) == text]
    assert len(kept) / len(PUBLISHED) > 0.85


@pytest.mark.parametrize("line", IDENTIFYING)
def test_nothing_identifying_survives(line: str) -> None:
    """No word of what identifies is left, in no spelling."""
    text, _, identifying = line.partition(" => ")
    left = set(keys_of(clean(text, NOBODY, WORDS)))
    assert not left & {key for word in identifying.split() for key in keys_of(word)}


def test_there_are_enough_identifying_texts() -> None:
    """A hundred of them."""
    assert len(IDENTIFYING) >= 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CT CHEST W CONTRAST for Mr Smith 01/02/2024", "CT CHEST W CONTRAST"),
        ("t1_Smith_sag_320", "t1_sag_320"),
        ("Thorax^Smith^1", "Thorax^1"),
        ("CT (Smith contrast) chest", "CT (contrast) chest"),
        ("CT [Smith] chest (Jones, 12345)", "CT chest"),
        ('CT "Smith" T2* Jones +C 100% Smith', "CT T2* +C 100%"),
        ("CHEST+Smith", "CHEST"),
        ("CHEST, Smith: ABD", "CHEST, ABD"),
        ("fusion with MR from Smith and Jones", "fusion with MR"),
        ("Smith 5 3.0 J", ""),
        ("Smith", ""),
        ("...", ""),
        ("", ""),
        ("5.0", "5.0"),
        ("  T2   AX ", "T2 AX"),
        ("chest\r\nSmith\r\nabdomen", "chest\r\nabdomen"),
        ("M\udcfcller M\udcfcller chest", "chest"),
        ("Smi\u200bth he\u200bad chest", "chest"),
        ("Age 45Y, 80 kg female", "Age 45Y, 80 kg female"),
    ],
)
def test_what_is_left(text: str, expected: str) -> None:
    """Separators and brackets of what stays are kept; those of what went go with it."""
    assert clean(text, NOBODY, WORDS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Baker cyst, circle of Willis, Morbus Crohn", "Baker cyst, circle of Willis, Morbus Crohn"),
        ("Blalock-Taussig shunt Crohn's disease", "Blalock-Taussig shunt Crohn's disease"),
        ("white matter, brown fat, X-ray", "white matter, brown fat, X-ray"),
        ("Baker knee Parkinson White Brown Ray", "knee"),
        ("LIVER LONG", "LIVER LONG"),
        ("LIVER Xandra LONG", "LIVER"),
        ("TI 1900 b_500_2000 2000 ms", "TI 1900 b_500_2000 2000 ms"),
        ("1900 2000 chest 2024", "chest"),
        ("DR CHEST, MR HEAD, PT BRAIN, MS protocol", "DR CHEST, MR HEAD, PT BRAIN, MS protocol"),
        ("Dr Chest, Mr Head", ""),
        ("b 50 400 800 1000", "b 50 400 800 1000"),
        ("FOOT_R_Xyzzy", "FOOT_R"),
    ],
)
def test_words_that_are_also_names(text: str, expected: str) -> None:
    """Eponyms, colours, years, titles, and words that are names: what is around them decides."""
    assert clean(text, NOBODY, WORDS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Head CT", "CT"),
        ("HEADJOHN JohnHead jhead HEADJ knee", "knee"),
        ("mueller MULLER Müllers mu\u0308ller Müeller's knee", "knee"),
        ("anne marie ANNEMARIE Anne-Marie_knee", "knee"),
        ("O YOUNG, oyoung, O'Young, young brown fat knee", "fat knee"),
        ("J. Head, J HEAD knee", "knee"),
        ("HU li knee SE", "knee SE"),
        ("ミュラー knee", "knee"),
        ("123456 0123456 123-456 12 3456 00 12 34 56 knee", "knee"),
        ("a12 77, A1277, A-12-77, A/12/77 knee", "knee"),
        ("lung 5, LUNG 42 LUNG0042", "lung 5"),
        ("LUNG 0042 LUNG-42", ""),
        ("born 10.5.70 10.05. 10051970 700510 0510 May 10, 1970 knee", "knee"),
        ("10 5 70, 10 05 1970 knee", "knee"),
        ("head clinic, HeadClinic, CT1 CT01 main street 5 berlin knee", "knee"),
        ("radiology clinic knee", "radiology clinic knee"),
        ("030 1234567, 1234567, 49301234567, 30-123-45-67 knee", "knee"),
        ("FOOT_R, FOOT_L, A, 7", "FOOT_R, FOOT_L, A, 7"),
    ],
)
def test_the_own_identity_goes(text: str, expected: str) -> None:
    """What belongs to this instance goes, in any form and whatever else it means; parts of places only together."""
    assert clean(text, SOMEBODY, WORDS) == expected


PIECES = st.sampled_from(
    [
        *DESCRIPTIONS,
        *IDENTIFYING,
        *sorted(listed("ambiguous") | listed("titles") | listed("roles") | listed("months") | listed("by")),
        *sorted(listed("verbs") | listed("id-labels") | listed("leads") | listed("units") | listed("eponyms")),
    ]
)
MARKS = st.sampled_from(
    [" ", "_", "^", "/", "-", ".", ",", ", ", ". ", " - ", ": ", "=", "(", ")", "[", "]", "'s", "+"]
)
TEXTS = st.lists(
    PIECES.flatmap(lambda text: st.sampled_from(text.split() or [""]))
    | MARKS
    | st.just(" ")
    | st.integers(0, 99999).map(str)
    | st.text(max_size=4)
    | st.binary(max_size=4).map(lambda data: data.decode("utf-8", "surrogateescape")),
    max_size=24,
).map("".join)


@given(TEXTS, st.sampled_from([NOBODY, SOMEBODY]))
def test_cleaning_twice_changes_nothing_and_adds_nothing(text: str, own: OwnIdentity) -> None:
    """A clean text is clean, and has no words but those of the text, in their order."""
    cleaned = clean(text, own, WORDS)
    assert clean(cleaned, own, WORDS) == cleaned
    assert follows(words_of(cleaned), words_of(text))


NAMES = st.sampled_from(
    ["Head", "Long", "Young", "Brown", "Müller", "Sørensen", "Ångström", "Weiß", "Nuñez", "Contrast"]
)
LETTERS = st.text("abcdefgäöüßåøéñç", min_size=3, max_size=8)
SPELLINGS = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa", "ø": "oe", "Å": "Aa"}


@st.composite
def spelt(draw: st.DrawFn, name: str) -> str:
    """A name as somebody may write it: another case, without accents, or with letters for them."""
    how = draw(st.sampled_from(["as is", "plain", "letters", "decomposed"]))
    if how == "plain":
        name = fold(name)
    elif how == "letters":
        name = "".join(SPELLINGS.get(letter, letter) for letter in name)
    elif how == "decomposed":
        name = unicodedata.normalize("NFD", name)
    return draw(st.sampled_from([name, name.upper(), name.lower(), name.title()]))


@given(
    st.data(), st.lists(NAMES | LETTERS, min_size=1, max_size=3), st.from_regex(r"[A-Z]{0,2}[0-9]{3,8}", fullmatch=True)
)
def test_no_own_word_survives(data: st.DataObject, own_names: list[str], own_id: str) -> None:
    """No name part and no identifier of three characters or more is left, in no case and with no accents."""
    own = own_identity(["^".join(own_names)], [own_id], [], [], [])
    name = st.sampled_from(own_names).flatmap(spelt)
    both = st.tuples(name, name).map("".join)
    text = "".join(data.draw(st.lists(name | both | st.just(own_id) | TEXTS | MARKS | st.just(" "), max_size=8)))
    left = {canonical(fold(word)) for word in TOKEN.findall(clean(text, own, WORDS))}
    assert not left & {key for one in (*own_names, own_id) for key in keys_of(one) if len(key) >= 3}


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "a ",
            "1-",
            "(",
            "1.",
            "[)",
            "aA",
            "x@",
            "a.",
            "a/",
            "T1",
            "0",
            "0 ",
            "+1 ",
            "1:",
            "- ",
            "a's ",
            "2000 ",
            "1-2-20 ",
        ),
        *(
            "Dr ",
            "jan 1 ",
            "id 1 ",
            "Baker ",
            "Smith ",
            "(Smith) ",
            "Long Xyz ",
            "a@b ",
            "seen by ",
            "of ",
            "1 1 a",
            "10115 Xyzzy ",
            "12 Head Street, ",
            "rue de la Main ",
            "for Head ",
            "J. Head, ",
            "MRN 1 2 ",
            "Ab-straße-",
            "CA 12345 ",
            "950874426 ",
            "e\u0301",
            "\udcff",
        ),
    ],
)
def test_time_is_linear(piece: str) -> None:
    """10 KB of anything take no longer than 10 KB: what is quadratic would take minutes."""
    text = (piece * 10240)[:10240]
    start = time.perf_counter()
    clean(text, SOMEBODY, WORDS)
    assert time.perf_counter() - start < 5


def test_no_common_name_is_known() -> None:
    """But those that descriptions cannot do without."""
    assert len(names()) >= 300
    assert {name for name in names() if WORDS.knows(name)} <= listed("ambiguous")
    assert not any(WORDS.knows(name) for name in ("Smith", "Müller", "Parkinson", "Baker", "Brown", "Oslo", "January"))


def test_words_are_known_in_any_spelling() -> None:
    """Case, accents, and letters for accents make no difference."""
    assert all(WORDS.knows(word) for word in ("Schädel", "SCHADEL", "schaedel", "cœur", "håndledd", "haandledd", "w/o"))
    assert not WORDS.knows("")
    assert not WORDS.knows("  ")


def test_own_words_and_phrases_are_added(tmp_path: Path) -> None:
    """Words of the file are known, even names; those of a phrase only together."""
    path = tmp_path / "words.txt"
    path.write_text("# ours\n\nXyzzy  # a coil\nKarl Ströz-3 Protocol\nSmith\n", encoding="utf-8")
    extra = vocabulary(path)
    assert extra is vocabulary(path)
    assert extra.knows("XYZZY")
    assert extra.knows("karl stroz 3 protocol")
    assert not extra.knows("karl")
    assert not WORDS.knows("Xyzzy")
    text = "xyzzy Smith KARL STROEZ 3 protocol, Karl, Stroz"
    assert clean(text, NOBODY, extra) == "xyzzy Smith KARL STROEZ 3 protocol"
    assert clean(text, own_identity(["Smith^Karl"], [], [], [], []), extra) == "xyzzy protocol"


@pytest.mark.parametrize("line", ["???", "12345", "a;b", "a b c d e f g h i", "tab\x07bell", "-"])
def test_a_line_that_is_no_phrase_is_refused(tmp_path: Path, line: str) -> None:
    """With the file and the line, but without what is in it."""
    path = tmp_path / "words.txt"
    path.write_text(f"word\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"{path}:2: expected a word")):
        vocabulary(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Absent, or not UTF-8."""
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'absent.txt'}: ")):
        vocabulary(tmp_path / "absent.txt")
    path = tmp_path / "latin.txt"
    path.write_bytes(b"sch\xe4del")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: ")):
        vocabulary(path)


def test_own_lists_are_in_order() -> None:
    """One word a line, lower case, sorted, and none twice."""
    for path in sorted((Path(__file__).parents[1] / "scp_anon/deid/standard").glob("words-*.txt")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        assert lines == sorted(set(lines)), path.name
        assert all(re.fullmatch(r"[^\W_]+|[a-z]/[a-z]", line) and line == line.lower() for line in lines), path.name


def test_pydicom_has_the_concepts_as_we_read_them() -> None:
    """Scheme → keyword → code → meaning and context groups: an internal of pydicom."""
    meaning, groups = next(iter(concepts["SCT"]["Abdomen"].values()))  # type: ignore[attr-defined]
    assert meaning == "Abdomen"
    assert 4031 in groups
