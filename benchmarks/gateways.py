"""The gateways that the benchmark of the full chain compares: each receives, de-identifies and sends to one storescp.

python -m benchmarks.gateways PORT DESTINATION
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association

from benchmarks.senders import AE_TITLE

_VERIFICATION: Final = "1.2.840.10008.1.1"
_CLASSES: Final = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4")
_NODE: Final = """
key: {{file: {folder}/key, create: true}}
spool: {{path: {folder}/spool, reserve: 0}}
listen: [{{address: 127.0.0.1, port: {port}}}]
operations: null
routes: [{{called_ae_title: {title}, project: bench, acknowledge: {acknowledge}, destinations: [research]}}]
destinations:
  research: {{type: dicom, host: 127.0.0.1, port: {destination}, called_ae_title: DEST, associations: {associations}}}
log: {{level: warning}}
"""
_LUA: Final = """
function OnStableStudy(study, tags, metadata)
  if metadata['AnonymizedFrom'] == nil then
    local anonymized = ParseJson(RestApiPost('/studies/' .. study .. '/anonymize', '{}'))['ID']
    RestApiPost('/modalities/dest/store', anonymized)
    RestApiDelete('/studies/' .. anonymized)
    RestApiDelete('/studies/' .. study)
  end
end
"""


@dataclass(frozen=True)
class Gateway:
    """A kind of gateway: its command line for a folder, a port, a destination's port; and whether it is a slow one."""

    name: str
    command: Callable[[Path, int, int], list[str]]
    is_slow: bool = False


def _node(acknowledge: str, associations: int) -> Callable[[Path, int, int], list[str]]:
    def command(folder: Path, port: int, destination: int) -> list[str]:
        config = folder / "node.yaml"
        text = _NODE.format(
            folder=folder,
            port=port,
            title=AE_TITLE,
            acknowledge=acknowledge,
            destination=destination,
            associations=associations,
        )
        config.write_text(text, encoding="utf-8")
        return [sys.executable, "-m", "scp_anon", "serve", "-c", str(config)]

    return command


def _orthanc(folder: Path, port: int, destination: int) -> list[str]:
    """An Orthanc that anonymizes each stable study, sends and deletes."""
    (folder / "gateway.lua").write_text(_LUA, encoding="utf-8")
    settings = {
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "HttpServerEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "StableAge": 1,
        "LuaScripts": [str(folder / "gateway.lua")],
        "DicomModalities": {"dest": ["DEST", "127.0.0.1", destination]},
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    return ["Orthanc", str(folder / "orthanc.json")]


def _pynetdicom(folder: Path, port: int, destination: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.gateways", str(port), str(destination)]


GATEWAYS: Final = (
    Gateway("Orthanc, each stable study", _orthanc, is_slow=True),
    Gateway("pynetdicom, each instance", _pynetdicom, is_slow=True),
    Gateway("ours", _node("committed", 1)),
    Gateway("ours, 4 associations", _node("committed", 4)),
    Gateway("ours, results acknowledged, 4 associations", _node("deidentified", 4)),
)


def pynetdicom_gateway(port: int, destination: int) -> None:
    """What one would write with pynetdicom's own means: a few attributes changed, sent on over one association."""
    requestor = AE("BENCH")
    for sop_class in _CLASSES:
        requestor.add_requested_context(sop_class, ExplicitVRLittleEndian)
    sending: list[Association] = []
    turn = threading.Lock()

    def store(event: evt.Event) -> int:
        data_set = event.dataset
        data_set.file_meta = event.file_meta
        data_set.PatientName = data_set.PatientID = "ANONYMOUS"
        data_set.remove_private_tags()
        with turn:
            if not sending:
                sending.append(requestor.associate("127.0.0.1", destination, ae_title="DEST"))
            return int(sending[0].send_c_store(data_set).Status)

    acceptor = AE()
    acceptor.supported_contexts = AllStoragePresentationContexts
    acceptor.add_supported_context(_VERIFICATION)
    acceptor.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    pynetdicom_gateway(*map(int, sys.argv[1:]))
