"""Clients that ask an HTTP server to read pictures: each sends its next picture when it has the answer to the last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.pictures import Line, Picture, quad
from scripts.benchmark.samples import Sample

# Seconds for one answer; with 64 clients the slowest peer takes two minutes.
_TIMEOUT = aiohttp.ClientTimeout(total=600)


@dataclass(frozen=True)
class Endpoint:
    """Where pictures are uploaded to.

    Attributes:
        url: takes a form by POST.
        file_field: the form's field for the picture.
        lines: what was read, from the answer's JSON.
        form: the form's other fields.
    """

    url: str
    file_field: str
    lines: Callable[[Any], list[Line]]
    form: Mapping[str, str] = field(default_factory=dict)


def read(endpoint: Endpoint, pictures: Sequence[Picture], clients: int) -> Sample:
    """Have the pictures read, by so many clients at a time; its latencies are in the order of the pictures.

    Raises:
        BenchmarkError: one was not answered, or not with 200.
    """
    return asyncio.run(_read(endpoint, pictures, clients))


async def _read(endpoint: Endpoint, pictures: Sequence[Picture], clients: int) -> Sample:
    sent = [0.0] * len(pictures)
    latencies = [0.0] * len(pictures)
    readings: dict[str, list[Line]] = {}
    waiting = iter(enumerate(pictures))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:

        async def client(mine: Iterator[tuple[int, Picture]]) -> None:
            for place, picture in mine:
                sent[place] = time.perf_counter()
                answer = await _post(session, endpoint, picture)
                latencies[place] = time.perf_counter() - sent[place]
                readings[picture.name] = endpoint.lines(answer)

        began = time.perf_counter()
        tasks = [asyncio.create_task(client(waiting)) for _ in range(clients)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        seconds = time.perf_counter() - began
    return Sample(len(pictures), seconds, tuple(latencies), readings, tuple(sent))


async def _post(session: aiohttp.ClientSession, endpoint: Endpoint, picture: Picture) -> Any:
    form = aiohttp.FormData(dict(endpoint.form))
    form.add_field(endpoint.file_field, picture.data, filename="picture")
    try:
        async with session.post(endpoint.url, data=form) as response:
            if response.status != 200:
                raise BenchmarkError(f"{picture.name}: HTTP {response.status}: {(await response.text())[:300]}")
            return await response.json()
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        raise BenchmarkError(f"{picture.name}: no answer from {endpoint.url}: {error!r}") from error


def our_lines(answer: Mapping[str, Any]) -> list[Line]:
    """Of the answer to `/upload`."""
    return [Line(result["text"], quad(result["bbox"])) for result in answer["results"]]


def rapidocr_api_lines(answer: Mapping[str, Any]) -> list[Line]:
    """Of rapidocr_api's answer: an object for each line, by its number."""
    return [Line(line["rec_txt"], quad(line["dt_boxes"])) for line in answer.values()]
