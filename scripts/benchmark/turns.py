"""Whose turn it is: each contestant of the comparison, and how it is measured."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.onnxruntime.sessions import usable_cpus
from scripts.benchmark import load, shared_memory
from scripts.benchmark.contest import Contestant, Turn
from scripts.benchmark.ours import NAME, Configuration, OurServer, serving
from scripts.benchmark.peers.catalogue import InProcess
from scripts.benchmark.peers.environments import CACHE
from scripts.benchmark.perf_analyzer import Protocol, analyze
from scripts.benchmark.pictures import Copies, Line, Picture, cycled, quad
from scripts.benchmark.samples import Sample
from scripts.benchmark.worker import Worker, working
from scripts.launch.layout import PROFILE_SETTING
from scripts.launch.server import ROOT

COLD, WARM = "one caller, cold", "one caller, warm"
LIMIT = "inference limit"
_MODE = ", "


@dataclass(frozen=True)
class Material:
    """The pictures of a run; what is read of them are copies, each of which is read once."""

    pictures: Sequence[Picture]
    copies: Copies
    warm_up: Picture

    def for_clients(self, clients: int) -> list[Picture]:
        """Whole passes over the pictures: one for a single client, else so many that each client has something to do
        until few are left."""
        passes = 1 if clients == 1 else math.ceil((clients + len(self.pictures)) / len(self.pictures))
        return self.copies.of(cycled(self.pictures, passes * len(self.pictures)))


def way(clients: int, protocol: str = "HTTP") -> str:
    """How a contestant is asked by so many clients."""
    return f"{protocol}, {clients} client{'s' if clients > 1 else ''}"


def named(base: str, configuration: Configuration) -> str:
    """What this server, Triton or the runtime is called, started like that; the precision stands beside it."""
    return f"{base}{_MODE}{configuration.mode}" if configuration.mode else base


def mode(contestant: Contestant) -> str:
    """Of a name that `named` gave; empty where none was asked for."""
    return contestant.name.partition(_MODE)[2]


def is_ours(contestant: Contestant) -> bool:
    """Whether it is this server."""
    return contestant.name.startswith(NAME)


def over_http(contestant: Contestant, endpoint: load.Endpoint, material: Material, clients: int) -> Turn:
    """A server that runs already."""
    return Turn([contestant], lambda: [load.read(endpoint, material.for_clients(clients), clients)])


def by_perf_analyzer(
    contestant: Contestant, server: OurServer, protocol: Protocol, material: Material, clients: int
) -> Turn:
    """Triton without the adapter."""

    def measure() -> list[Sample]:
        return [analyze(server, contestant.profile, material.for_clients(clients), protocol, clients)]

    return Turn([contestant], measure)


def by_shared_memory(contestant: Contestant, server: OurServer, material: Material, clients: int) -> Turn:
    """Triton without the adapter, and without sending the pictures."""

    def measure() -> list[Sample]:
        return [shared_memory.read(server, contestant.profile, material.for_clients(clients), clients)]

    return Turn([contestant], measure)


def our_fresh(configuration: Configuration, profile: str, precision: str, material: Material) -> Turn:
    """A server that is started for the turn, and meets the pictures for the first and for the second time once it has
    warmed up."""

    def measure() -> list[Sample]:
        # Which is what whoever serves these weights would set, as the peers are told theirs.
        with serving(configuration, {PROFILE_SETTING: profile}) as server:
            load.read(server.endpoint(profile), material.copies.of([material.warm_up]), clients=1)
            return [load.read(server.endpoint(profile), material.for_clients(1), clients=1) for _ in (COLD, WARM)]

    name = named(NAME, configuration)
    return Turn([Contestant(name, profile, precision, f"HTTP, {when}") for when in (COLD, WARM)], measure)


def in_process(peer: InProcess, profile: str, material: Material) -> Turn:
    """A peer's library, in a process that is started for the turn; the same as `our_fresh`."""

    def measure() -> list[Sample]:
        with peer.reading(profile) as worker:
            _ask(worker, material.copies.of([material.warm_up]))
            return [_ask(worker, material.for_clients(1)) for _ in (COLD, WARM)]

    return Turn(
        [Contestant(peer.name, profile, peer.precision, f"in process, {when}") for when in (COLD, WARM)], measure
    )


def _ask(worker: Worker, pictures: Sequence[Picture]) -> Sample:
    latencies, readings = [], {}
    with _files(pictures) as files:
        for picture, file in zip(pictures, files, strict=True):
            answer = worker.ask(str(file))
            latencies.append(answer["seconds"])
            readings[picture.name] = [Line(line["text"], quad(line["poly"])) for line in answer["lines"]]
    return Sample(len(pictures), sum(latencies), tuple(latencies), readings)


def limit(server: OurServer, profile: str, precision: str, material: Material) -> Turn:
    """The runtime alone, on the calls that our pipeline makes for the pictures: one process that has all cores, and a
    process of one thread for each core. The server has to share the cores out in one way or another."""
    models = ("det_onnx", "cls_onnx", "rec_onnx")
    configurations = {model: server.model_config(model, profile) for model in models}
    cores = usable_cpus()

    def measure() -> list[Sample]:
        with _files(material.for_clients(1)) as files:
            question = {
                "profile": profile,
                "configurations": configurations,
                "pictures": [str(file) for file in files],
            }
            return [
                _replayed(len(files), server.configuration, json.dumps({**question, "threads": threads}), processes)
                for processes, threads in ((1, cores), (cores, 1))
            ]

    ways = (f"1 process of {cores} threads", f"{cores} processes of 1 thread")
    name = named(LIMIT, server.configuration)
    return Turn([Contestant(name, profile, precision, way) for way in ways], measure)


def _replayed(pages: int, configuration: Configuration, question: str, processes: int) -> Sample:
    """Every process makes the calls for all the pages, all of them at the same time."""
    modules = [str(ROOT), str(ROOT / "model_repository" / "ocr_ensemble" / "1")]
    environment = {"PYTHONPATH": ":".join(modules), **configuration.environment}
    command = [sys.executable, "-m", "scripts.benchmark.replay"]
    with ExitStack() as stack, ThreadPoolExecutor(processes) as threads:
        workers = [
            stack.enter_context(working(command, environment=environment, log=CACHE / "logs" / f"replay-{number}.log"))
            for number in range(processes)
        ]
        list(threads.map(lambda worker: worker.ask(question), workers))
        began = time.perf_counter()
        list(threads.map(lambda worker: worker.ask(""), workers))
        return Sample(pages * processes, time.perf_counter() - began)


@contextmanager
def _files(pictures: Sequence[Picture]) -> Iterator[list[Path]]:
    """The pictures as files, for processes that are told paths."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        files = [Path(folder) / str(number) for number in range(len(pictures))]
        for picture, file in zip(pictures, files, strict=True):
            file.write_bytes(picture.data)
        yield files
