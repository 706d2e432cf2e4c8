"""Whether time and memory grow with the work and no faster: with lines, with pixels, and with the pages of a PDF."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np

from scripts.benchmark import load, report
from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.ours import Configuration, OurServer, serving
from scripts.benchmark.pictures import Copies, Picture, Truth
from scripts.benchmark.processes import memory
from scripts.benchmark.rendered import grid, pdf, pdf_page, scaled
from scripts.benchmark.section import Section
from scripts.benchmark.turns import Material
from scripts.client import multipart

LINES = (1, 3, 10, 30, 100, 300, 1000)
MEGAPIXELS = (0.1, 0.3, 1.0, 3.0, 6.0, 12.0, 24.0)
PDF_PAGES = 200

_SETTINGS = {"OCR_MAX_IMAGE_WIDTH": "10000", "OCR_MAX_IMAGE_HEIGHT": "10000", "OCR_MAX_FILE_SIZE": str(64 << 20)}
_SAMPLING = 0.05  # seconds between two looks at the memory
_PDF_SAMPLES = 10  # looks at the memory over a PDF's length
_MIB = 1 << 20


@dataclass(frozen=True)
class Point:
    """What one page cost.

    Attributes:
        work: lines or megapixels.
        found: lines that were read.
        seconds: the median of the rounds.
        memory: bytes that the server held more, at most, than before the first page of all.
    """

    work: float
    found: int
    seconds: float
    memory: int


@dataclass(frozen=True)
class Document:
    """What a PDF cost; seconds, bytes.

    Attributes:
        first: until the first page's answer.
        first_alone: the same of a PDF that has this page alone.
        picture: of the same page, sent as a picture.
        whole: until the last answer.
        memory: of the server's processes, from the first page to the last, at equal distances.
    """

    first: float
    first_alone: float
    picture: float
    whole: float
    memory: list[int]


def measure(configuration: Configuration, profile: str, rounds: int, material: Material) -> Section:
    """Raises BenchmarkError where the server does not start or answer."""
    by_lines = {float(lines): grid(lines, 1600, 1500) for lines in LINES}
    by_size = {megapixels: scaled(material.pictures[0], megapixels) for megapixels in MEGAPIXELS}
    with serving(configuration, _SETTINGS) as server:
        precision = server.precision(profile)
        lines = _points(server, profile, by_lines, rounds, material.copies)
        pixels = _points(server, profile, by_size, rounds, material.copies)
        document = _document(server, profile, rounds, material.copies)
    text = "\n\n".join(
        [
            _table("lines", lines),
            _fit("line", lines),
            _table("megapixels", pixels),
            _fit("megapixel", pixels),
            _document_text(document),
        ]
    )
    data = {
        "profile": profile,
        "precision": precision,
        "lines": [asdict(point) for point in lines],
        "megapixels": [asdict(point) for point in pixels],
        "pdf": asdict(document),
    }
    return Section(f"Growth with the work: {profile}, {precision}, {configuration}", text, data)


def _points(server: OurServer, profile: str, pages: dict[float, Picture], rounds: int, copies: Copies) -> list[Point]:
    endpoint = server.endpoint(profile)

    def seconds(page: Picture) -> float:
        return load.read(endpoint, copies.of([page]), clients=1).seconds

    before = memory(server.pid)
    held, found = {}, {}
    for work, page in pages.items():  # the first of their size, too
        with _greatest_memory(server) as greatest:
            sample = load.read(endpoint, copies.of([page]), clients=1)
        held[work], found[work] = max(greatest) - before, len(sample.readings[page.name])
    timed = [{work: seconds(page) for work, page in pages.items()} for _ in range(rounds)]
    return [Point(work, found[work], statistics.median(times[work] for times in timed), held[work]) for work in pages]


@contextmanager
def _greatest_memory(server: OurServer) -> Iterator[list[int]]:
    """What the server's processes hold meanwhile, looked at again and again."""
    looks = [memory(server.pid)]
    done = threading.Event()

    def look() -> None:
        while not done.wait(_SAMPLING):
            looks.append(memory(server.pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looks
    finally:
        done.set()
        thread.join()


def _document(server: OurServer, profile: str, rounds: int, copies: Copies) -> Document:
    file = pdf(PDF_PAGES)
    alone = pdf(1)
    picture = Picture("page", pdf_page(alone, dpi=200), Truth(()))
    endpoint = server.endpoint(profile)
    first_alone = [next(_stream(server, profile, alone)) for _ in range(rounds)]
    as_picture = [load.read(endpoint, copies.of([picture]), clients=1).seconds for _ in range(rounds)]
    looks = []
    seconds = []
    for number, second in enumerate(_stream(server, profile, file)):
        seconds.append(second)
        if number % (PDF_PAGES // _PDF_SAMPLES) == 0 or number == PDF_PAGES - 1:
            looks.append(memory(server.pid))
    if len(seconds) != PDF_PAGES:
        raise BenchmarkError(f"of {PDF_PAGES} pages of a PDF {len(seconds)} were answered")
    return Document(seconds[0], statistics.median(first_alone), statistics.median(as_picture), seconds[-1], looks)


def _stream(server: OurServer, profile: str, file: bytes) -> Iterator[float]:
    """Seconds after which each page of a PDF is answered by `/upload_pdf`.

    Raises:
        BenchmarkError: the answer is an error, or ends before it is whole.
    """
    body, content_type = multipart("document.pdf", file, {"profile": profile})
    connection = http.client.HTTPConnection("127.0.0.1", server.listeners.adapter, timeout=600)
    began = time.perf_counter()
    connection.request("POST", "/upload_pdf", body, {"Content-Type": content_type, "Accept": "application/x-ndjson"})
    response = connection.getresponse()
    if response.status != 200:
        raise BenchmarkError(f"/upload_pdf: HTTP {response.status}: {response.read(300)!r}")
    whole = False
    for line in response:
        entry = json.loads(line)
        if "page" in entry:
            yield time.perf_counter() - began
        elif not (whole := entry["success"]):
            raise BenchmarkError(f"/upload_pdf: {entry['error']}")
    if not whole:
        raise BenchmarkError("/upload_pdf: the answer ends before it is whole")


def _table(unit: str, points: Sequence[Point]) -> str:
    head = (unit, "lines read", "s", f"ms / {unit.removesuffix('s')}", "memory MiB")
    rows = [
        (
            f"{point.work:g}",
            str(point.found),
            f"{point.seconds:.3f}",
            f"{1000 * point.seconds / point.work:.1f}",
            f"{point.memory / _MIB:.0f}",
        )
        for point in points
    ]
    return report.table([head, *rows])


def _fit(unit: str, points: Sequence[Point]) -> str:
    """The least-squares lines of time and memory over the work."""
    time_line = linear([(point.work, point.seconds) for point in points])
    memory_line = linear([(point.work, point.memory / _MIB) for point in points])
    return (
        f"Least squares: {time_line[0]:.2f} s + {1000 * time_line[1]:.1f} ms a {unit} (R² = {time_line[2]:.3f}); "
        f"{memory_line[0]:.0f} MiB + {memory_line[1]:.2f} MiB a {unit} (R² = {memory_line[2]:.3f})."
    )


def linear(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Intercept, slope and coefficient of determination (R²) of the least-squares line through the points (x, y)."""
    x, y = np.array(points, float).T
    slope, intercept = np.polyfit(x, y, 1)
    rest, spread = ((y - slope * x - intercept) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return float(intercept), float(slope), float(1 - rest / spread) if spread else 1.0


def _document_text(document: Document) -> str:
    looks = " ".join(f"{look / _MIB:.0f}" for look in document.memory)
    return (
        f"A PDF of {PDF_PAGES} pages: first page after {document.first:.2f} s (of a PDF of one page "
        f"{document.first_alone:.2f} s, of the same page as a picture {document.picture:.2f} s), the last after "
        f"{document.whole:.1f} s. Memory of the server over its length, in MiB: {looks}."
    )
