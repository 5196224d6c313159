"""What is told to those who operate the node, over HTTP: /healthz, /readyz, and /metrics for Prometheus.

Nothing that is told identifies anybody: names from the configuration, codes, numbers and times.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from scp_anon import metrics
from scp_anon.inspection import Census, Inspection
from scp_anon.version import VERSION

_CENSUS_HOLDS: Final = 5.0  # seconds: a long queue is not counted for each request
_PATIENCE: Final = 10.0  # seconds that a request may take, from its first byte to the last of the answer
_LAST_ANSWERS: Final = 1.0  # seconds
_REQUESTS: Final = 32
_JSON: Final = "application/json"


class Facts(NamedTuple):
    """What is told of the node besides what it counts: its spool, the disk reserve in bytes, the id of its key."""

    spool: Path
    reserve: int
    key_id: str


class Operations:
    """Answers requests on one socket, which listens already."""

    def __init__(self, listener: socket, facts: Facts) -> None:
        self._facts = facts
        self._inspection = Inspection(facts.spool)
        self._census = Census({}, {})
        self._census_at = -_CENSUS_HOLDS
        self._lock = threading.Lock()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(self))
        pages = {
            "/healthz": lambda: (200, _JSON, b'{"status": "alive"}\n'),
            "/readyz": self._ready,
            "/metrics": lambda: (200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)),
        }
        self._server = _Server(listener, pages)
        self._thread = threading.Thread(target=self._server.serve_forever, name="operations", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, but for what has been asked already."""
        self._server.shutdown()
        self._server.server_close()
        self._server.finish()

    def census(self) -> Census:
        """What is in the spool, as it was a moment ago."""
        with self._lock:
            if time.monotonic() - self._census_at > _CENSUS_HOLDS:
                self._census = self._inspection.census()
                self._census_at = time.monotonic()
            return self._census

    def free(self) -> int:
        """Bytes free on the file system of the spool."""
        return shutil.disk_usage(self._facts.spool).free

    def metrics(self) -> Iterator[Metric]:
        """All that is counted, in the form of Prometheus."""
        yield from map(_exposed, metrics.FAMILIES)
        yield _gauge("scp_anon_build_info", "The version that runs.", {"version": VERSION}, 1)
        yield _gauge("scp_anon_key_info", "The id of the master key.", {"key": self._facts.key_id}, 1)
        yield _gauge("scp_anon_spool_free_bytes", "Free space on the disk of the spool.", {}, self.free())
        yield _gauge("scp_anon_spool_reserve_bytes", "Below this nothing is received.", {}, self._facts.reserve)
        yield from _told_of(self.census())

    def _ready(self) -> tuple[int, str, bytes]:
        """Whether instances can be received now, and what keeps it from being so."""
        (_, (receivers,)), (_, (senders,)) = list(metrics.PROCESSES.samples())[:2]
        checks = {
            "receives": receivers > 0,
            "delivers": senders > 0,
            "above-reserve": self.free() >= self._facts.reserve,
        }
        status = 200 if all(checks.values()) else 503
        return status, _JSON, json.dumps({"ready": status == 200, "checks": checks}).encode() + b"\n"


class _Collected(Collector):
    """What the registry asks for its metrics."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        return self._operations.metrics()


_Pages = dict[str, Callable[[], tuple[int, str, bytes]]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listener: socket, pages: _Pages) -> None:
        super().__init__(listener.getsockname()[:2], _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.pages = pages
        self._begun: dict[Any, float] = {}  # the connections that there are

    def verify_request(self, request: object, client_address: object) -> bool:
        """A bound on threads: who asks more often than that is let go without an answer."""
        return len(self._begun) < _REQUESTS

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own."""
        self._begun[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """It has come to its end, in whatever way."""
        self._begun.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Now and then: end what takes too long, however it trickles."""
        for request, begun in list(self._begun.items()):
            if time.monotonic() - begun > _PATIENCE:
                with suppress(OSError):  # it has ended by itself
                    request.shutdown(SHUT_RDWR)

    def finish(self) -> None:
        """Wait, but not for long, until those who have asked have their answers."""
        deadline = time.monotonic() + _LAST_ANSWERS
        while self._begun and time.monotonic() < deadline:
            time.sleep(0.01)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away before it has its answer is nobody's trouble."""


class _Request(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    wbufsize = 1 << 20  # an answer is sent in one piece
    server_version = "scp-anon"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        status, kind, content = page() if page else (404, "text/plain", b"/healthz /readyz /metrics\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as http.server has it
        """Nothing: what is asked for is chosen by somebody else."""


def _exposed(family: metrics.Family) -> Metric:
    """A family of ours in the form of Prometheus."""
    if isinstance(family, metrics.Histogram):
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for values, numbers in family.samples():
            *counts, total = numbers
            bounds = [*map(str, map(float, family.bounds)), "+Inf"]
            buckets = [(bound, sum(counts[: i + 1])) for i, bound in enumerate(bounds)]
            histogram.add_metric(values, buckets, total)
        return histogram
    kind = CounterMetricFamily if isinstance(family, metrics.Counter) else GaugeMetricFamily
    exposed: CounterMetricFamily | GaugeMetricFamily = kind(family.name, family.text, labels=family.labels)
    for values, (number,) in family.samples():
        exposed.add_metric(values, number)
    return exposed


def _gauge(name: str, text: str, labels: dict[str, str], number: float) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=tuple(labels))
    gauge.add_metric(tuple(labels.values()), number)
    return gauge


def _told_of(census: Census) -> Iterator[Metric]:
    """What is in the spool, in the form of Prometheus."""
    entries = GaugeMetricFamily(
        "scp_anon_queue_entries", "Instances that wait: incoming, active, or for a destination.", labels=["queue"]
    )
    ages = GaugeMetricFamily(
        "scp_anon_queue_oldest_age_seconds", "Since the oldest of them arrived; 0 for none.", labels=["queue"]
    )
    for name, (count, oldest) in census.queues.items():
        entries.add_metric([name], count)
        ages.add_metric([name], max(time.time() - oldest, 0) if count else 0)
    yield entries
    yield ages
    quarantine = GaugeMetricFamily(
        "scp_anon_quarantine_entries", "Instances in quarantine, by reason.", labels=["reason"]
    )
    for reason, count in census.quarantine.items():
        quarantine.add_metric([reason], count)
    yield quarantine
