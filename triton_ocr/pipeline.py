"""PaddleX's OCR pipeline, whose models run in a server."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from triton_ocr.client import Client, ReadPage, is_pdf
from triton_ocr.config import PIPELINE, PipelineConfig, check_device, load_config, profile_of
from triton_ocr.embedded import EmbeddedServer
from triton_ocr.errors import ConfigError, InputError, OCRError
from triton_ocr.result import OCRResult
from triton_ocr.sources import Source, sources

# Files that the server is given at the same time: it has the next one to prepare while it recognises.
_IN_FLIGHT = 3
# What OCR_PRECISION calls the precision of PaddleX's high performance inference.
_FAST = "fast"

OnPage = Callable[[Source, int, int], None]


@dataclass(frozen=True)
class FileReading:
    """One file, and what was read off its pages (of a picture, one), or why nothing was.

    `name` is for files about it: its own, without the ending, unless another file of the run has that.
    """

    source: Source
    name: str
    file: bytes
    results: Sequence[OCRResult]
    error: OCRError | None = None


class OCRPipeline:
    """Reads through one server. A context manager; closing it ends the server where it was started for it."""

    def __init__(self, client: Client, fields: Mapping[str, Any], close: Callable[[], None]) -> None:
        """`fields` are those of PaddleX's `POST /ocr` that every request has."""
        self._client = client
        self._fields = fields
        self._close = close

    def __enter__(self) -> OCRPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server, where it was started for this pipeline."""
        self._close()

    def predict(self, x: Any) -> Iterator[OCRResult]:
        """Read an array, a path, a URL, a folder, a dict with one of those as "img", or a list of any of them.

        The results come in order, one for each picture and page, while later files are being read. See
        `triton_ocr.sources` for what arrays and folders mean. Raises InputError at the first file that cannot be read,
        ServerError, and TypeError or ValueError for what cannot be a picture.
        """
        for reading in self.readings(sources(x)):
            if reading.error:
                raise reading.error
            yield from reading.results

    def readings(
        self, files: Iterable[Source], *, drawn: bool = True, on_page: OnPage = lambda source, done, of: None
    ) -> Iterator[FileReading]:
        """Read file after file; one that cannot be read is told with its error, and the next one follows.

        Without `drawn` the results carry no drawings, which saves the server the work. `on_page` is told after each
        page how many of its file's are done, and of how many, by any thread. Raises ServerError.
        """
        names = _Names()
        for source, future in _ahead(lambda source: self._read(source, drawn, on_page), files):
            try:
                file, pages = future.result()
            except InputError as error:
                yield FileReading(source, source.stem, b"", (), error)
            else:
                name = names.free(source.stem)
                yield FileReading(source, name, file, list(_results(source, pages, is_pdf(file), name, names)))

    def searchable_pdf(self, reading: FileReading) -> bytes:
        """The file as a PDF whose text can be searched and copied. Raises InputError and ServerError."""
        pages = [
            {
                "page": number,
                "width": result.width,
                "height": result.height,
                "lines": [{"text": text, "bbox": quad} for text, quad in zip(result["rec_text"], result["dt_polys"])],
            }
            for number, result in enumerate(reading.results, 1)
        ]
        try:
            return self._client.searchable_pdf(reading.file, pages)
        except InputError as error:
            raise InputError(f"{reading.source.label}: {error}") from error

    def _read(self, source: Source, drawn: bool, on_page: OnPage) -> tuple[bytes, list[ReadPage]]:
        file = source.load()
        # Where nothing is said, the server draws what it can: not the pages of very long PDFs.
        fields = self._fields if drawn else {**self._fields, "visualize": False}
        try:
            return file, self._client.read(file, fields, lambda done, of: on_page(source, done, of))
        except InputError as error:
            raise InputError(f"{source.label}: {error}") from error


def create_pipeline(
    pipeline: str = PIPELINE, device: str | None = None, use_hpip: bool = False, *, server: str | None = None
) -> OCRPipeline:
    """PaddleX's OCR pipeline.

    Args:
        pipeline: `OCR`, or the name of a YAML file with a section `Pipeline`.
        device: `cpu`, `gpu` or `gpu:0`; where the server reads on the other one that is said, and any other is refused.
            None: the configuration's, or what there is.
        use_hpip: read at the fast precision.
        server: the base URL, or host and port, of the server to read through; OCR_SERVER where it is None. Without
            either, the one at this machine's OCR_PORT (8080), or if none answers there one that is started, and ends
            with `close`.

    Raises ConfigError for what is not here, ServerError where there is no server to be had.
    """
    config = load_config(pipeline)
    if device is not None:
        config = replace(config, device=device)
    return open_pipeline(config, use_hpip=use_hpip, server=server, say=_say)


def open_pipeline(
    config: PipelineConfig,
    *,
    use_hpip: bool,
    server: str | None,
    say: Callable[[str], None],
    profile: str | None = None,
    text_score: float = 0.0,
    reading_order: bool = False,
) -> OCRPipeline:
    """As `create_pipeline`, but for what is not PaddleX's.

    Args:
        profile: the weights, instead of the configuration's.
        text_score: lines with a lower score are left out; PaddleX leaves out none.
        reading_order: give lines as a person reads them, column by column, and not from the top as PaddleX does.
        say: takes a line for a person's eyes.
    """
    client, close = _server(server, config.device, use_hpip, say)
    try:
        chosen = {"textRecScoreThresh": text_score, "readingOrder": reading_order}
        fields: dict[str, Any] = {**chosen, **_weights(client, config, profile)}
        if config.text_rec_batch_size is not None:
            fields["textRecBatchSize"] = config.text_rec_batch_size
        return OCRPipeline(client, fields, close)
    except BaseException:
        close()
        raise


def _server(
    named: str | None, device: str | None, use_hpip: bool, say: Callable[[str], None]
) -> tuple[Client, Callable[[], None]]:
    """The server to read through, and what ends it."""
    key = os.environ.get("OCR_API_KEY")
    url = named or os.environ.get("OCR_SERVER")
    if url:
        client = Client(url, key)
        health = client.get("/health")
        _check(device, bool(health.get("gpu")), client.url, say)
        if use_hpip and health.get("precision") != _FAST:
            raise ConfigError(
                f"{client.url} does not read at the fast precision: start it with OCR_PRECISION={_FAST}, on a "
                "processor with bfloat16"
            )
        return client, lambda: None
    client = Client(f"http://127.0.0.1:{os.environ.get('OCR_PORT') or 8080}", key)
    if client.is_ready():
        health = client.get("/health")
        if not use_hpip or health.get("precision") == _FAST:
            _check(device, bool(health.get("gpu")), "this machine's server", say)
            return client, lambda: None
    _check(device, False, "this machine", say)
    own = EmbeddedServer({"OCR_PRECISION": _FAST} if use_hpip else {}, say)
    return own.client, own.stop


def _check(device: str | None, on_gpu: bool, where: str, say: Callable[[str], None]) -> None:
    replaced = check_device(device, on_gpu, where) if device is not None else None
    if replaced:
        say(replaced)


def _weights(client: Client, config: PipelineConfig, profile: str | None) -> dict[str, str]:
    """The fields that choose the weights. Raises ConfigError for those that the server has not."""
    if profile is None and config.text_det_model is None and config.text_rec_model is None:
        return {}
    models = client.get("/page/models")
    profiles = models["profiles"]
    if profile is not None:
        if profile not in profiles:
            raise ConfigError(f"the server has no profile {profile!r}; it has {', '.join(profiles)}")
        return {"profile": profile}
    detector = recogniser = models["default_profile"]
    if config.text_det_model is not None:
        detector = profile_of(config.text_det_model, "_det", "text_det_model", profiles)
    if config.text_rec_model is not None:
        recogniser = profile_of(config.text_rec_model, "_rec", "text_rec_model", profiles)
    return {"profile": detector} if detector == recogniser else {"profile": detector, "recProfile": recogniser}


class _Names:
    """Names for files that are saved, so that none of one run takes another's place."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, stem: str) -> str:
        """The stem, or where it is taken the stem with the first free number behind it."""
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name)
        return name


def _results(source: Source, pages: Sequence[ReadPage], of_pdf: bool, name: str, names: _Names) -> Iterator[OCRResult]:
    for index, page in enumerate(pages):
        place = {"page_index": index} if of_pdf else {}
        values = {
            "input_path": source.input_path,
            **place,
            "dt_polys": page.polys,
            "dt_scores": page.poly_scores,
            "rec_text": page.texts,
            "rec_score": page.text_scores,
        }
        yield OCRResult(
            values,
            width=page.width,
            height=page.height,
            drawing=page.drawing,
            in_order=page.in_order,
            stem=names.free(f"{name}_{index}") if of_pdf else name,
            suffix=Path(source.name).suffix,
        )


def _ahead(function: Callable[[Source], Any], files: Iterable[Source]) -> Iterator[tuple[Source, Future[Any]]]:
    """Each file with what the function makes of it, in order; a few more are under way."""
    under_way: deque[tuple[Source, Future[Any]]] = deque()
    pool = ThreadPoolExecutor(_IN_FLIGHT)
    try:
        for source in files:
            under_way.append((source, pool.submit(function, source)))
            if len(under_way) == _IN_FLIGHT:
                yield under_way.popleft()
        yield from under_way
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _say(message: str) -> None:
    print(f"triton-ocr: {message}", file=sys.stderr)
