"""What the adapter counts, for Prometheus."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The counts of one application; with several worker processes, `text` gives their sum."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        by_route = ("api", "route")
        self.requests = Counter(
            "ocr_requests",
            "Requests answered, by status; 499: the client left.",
            (*by_route, "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "ocr_request_seconds",
            "From a request's first byte to its answer.",
            by_route,
            buckets=_SECONDS,
            registry=registry,
        )
        self.pages = Counter("ocr_pages", "Pictures read.", ("api",), registry=registry)
        self.waiting = Gauge(
            "ocr_queue_waiting", "Pictures that wait for their turn.", multiprocess_mode="livesum", registry=registry
        )
        self.in_flight = Gauge(
            "ocr_in_flight", "Pictures that Triton is reading.", multiprocess_mode="livesum", registry=registry
        )
        self._exposed = registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            self._exposed = CollectorRegistry()
            MultiProcessCollector(self._exposed)
        else:
            ProcessCollector(registry=registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._exposed)
