"""Whose turn it is: each contestant of the comparison, and how it is measured."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark import load, shared_memory
from scripts.benchmark.contest import Contestant, Turn
from scripts.benchmark.ours import NAME, Configuration, OurServer, serving
from scripts.benchmark.peers.catalogue import InProcess
from scripts.benchmark.peers.environments import CACHE
from scripts.benchmark.perf_analyzer import Protocol, analyze
from scripts.benchmark.pictures import Copies, Line, Picture, cycled, quad
from scripts.benchmark.samples import Sample
from scripts.benchmark.worker import Worker, working
from scripts.launch.server import ROOT

COLD, WARM = "one caller, cold", "one caller, warm"
LIMIT = "inference limit"


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


def our_name(configuration: Configuration) -> str:
    """What this server is called, started like that; its precision stands beside it."""
    return f"{NAME}, {configuration.mode}" if configuration.mode else NAME


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
    """A server that is started for the turn, and meets the pictures for the first and for the second time."""

    def measure() -> list[Sample]:
        with serving(configuration) as server:
            return [load.read(server.endpoint(profile), material.for_clients(1), clients=1) for _ in (COLD, WARM)]

    name = our_name(configuration)
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


def limit(contestant: Contestant, server: OurServer, profile: str, material: Material, stack: ExitStack) -> Turn:
    """The runtime alone, on the calls that our pipeline makes for the pictures.

    The process that holds it is left to `stack`.
    """
    modules = [str(ROOT), str(ROOT / "model_repository" / "ocr_ensemble" / "1")]
    command = [sys.executable, "-m", "scripts.benchmark.replay"]
    environment = {"PYTHONPATH": ":".join(modules), **server.configuration.environment}
    log = CACHE / "logs" / f"replay-{profile}-{contestant.precision}.log"
    worker = stack.enter_context(working(command, environment=environment, log=log))
    models = ("det_onnx", "cls_onnx", "rec_onnx")
    configurations = {model: server.model_config(model, profile) for model in models}
    with _files(material.for_clients(1)) as files:
        paths = [str(file) for file in files]
        worker.ask(json.dumps({"profile": profile, "configurations": configurations, "pictures": paths}))

    def measure() -> list[Sample]:
        return [Sample(len(material.pictures), worker.ask("")["seconds"])]

    return Turn([contestant], measure)


@contextmanager
def _files(pictures: Sequence[Picture]) -> Iterator[list[Path]]:
    """The pictures as files, for processes that are told paths."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        files = [Path(folder) / str(number) for number in range(len(pictures))]
        for picture, file in zip(pictures, files, strict=True):
            file.write_bytes(picture.data)
        yield files
