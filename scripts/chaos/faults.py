"""What is done to a server, each as a function that returns when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scripts.chaos import processes
from scripts.chaos.account import Outcome, Record
from scripts.chaos.load import Load
from scripts.launch.ports import Listeners
from scripts.launch.server import ROOT
from scripts.launched import LAUNCH, Launched, environment


@dataclass(frozen=True)
class Scene:
    """A ready server under load."""

    server: Launched
    load: Load


class Broken(Exception):  # noqa: N818 - it reads as what happened
    """The server has not done what it promises; the message says what."""


@dataclass(frozen=True)
class Fault:
    """Something that happens to a server.

    Attributes:
        name: as it is called for.
        title: for people.
        happen: makes it happen; returns, when it is over, what there is to say of it beside the counts. Raises
            `Broken`.
        settings: of the server that it happens to.
        within: the command that runs that server, where it is not run by itself.
        cuts: whether the process that holds the clients' connections dies: what is then in its hands is lost, since
            nobody is left to answer it.
        ends: whether the server is not to come back.
        asked: the calls that clients make, by name; all where none is named.
        back: the goal: seconds after which clients are served again.
    """

    name: str
    title: str
    happen: Callable[[Scene], Awaitable[str]]
    settings: Mapping[str, str] = field(default_factory=dict)
    within: Sequence[str] = ()
    cuts: bool = False
    ends: bool = False
    asked: Sequence[str] = ()
    back: float = 10.0


def faults(environment: Mapping[str, str] = os.environ) -> list[Fault]:
    """All of them; those of vLLM where weights for it are named."""
    found = [
        Fault("triton", "kill -9 of tritonserver", _killing(lambda server: server.triton)),
        *(
            Fault(model, f"kill -9 of a stub of {model}", _killing(partial(processes.stub, model)))
            for model in ("det_onnx", "cls_onnx", "rec_onnx", "ocr_ensemble")
        ),
        Fault("adapter", "kill -9 of the adapter", _killing(lambda server: server.adapter), cuts=True),
        Fault("pdf_worker", "kill -9 of the PDF worker", _killing(processes.pdf_worker)),
        Fault("stopped_triton", "SIGSTOP of tritonserver for 20 s", _stop_triton, {"OCR_REQUEST_TIMEOUT": "10"}),
        Fault("full_disk", "no room for files for 10 s", _full_disk),
        Fault(
            "descriptors",
            "1,000 connections where 400 files may be open",
            _many_connections(1000),
            within=("prlimit", "--nofile=400:400"),
        ),
        Fault("slow_clients", "100 clients that send a byte a second", _slow_clients, _SHORT),
        Fault("deaf_clients", "100 clients that never read their answers", _deaf_clients, _SHORT),
        Fault("connections", "2,000 connections at once", _many_connections(2000)),
        Fault("port", "a second server on the same ports", _second_server),
        Fault("weights", "a server whose weights are damaged", _damaged_weights),
        Fault("sigterm", "SIGTERM", _sigterm, ends=True),
    ]
    if environment.get("DOTS_MODEL_PATH"):
        kill = _killing(processes.vllm_engine)
        found.insert(5, Fault("vllm", "kill -9 of vLLM's engine, DotsOCR asked", kill, asked=["DotsOCR"], back=_LOADED))
    return found


# Seconds for vLLM to start and load a tiny model on two cores.
_LOADED = 60.0

# Seconds for a whole request, so that the patience with slow clients can be watched.
_SHORT = {"OCR_REQUEST_TIMEOUT": "10", "OCR_DOCUMENT_TIMEOUT": "10"}
_SLOW_CLIENTS = 100
# Seconds within which a connection that leads nowhere is to be given up.
_PATIENCE = 45.0


def _killing(victim: Callable[[Launched], int]) -> Callable[[Scene], Awaitable[str]]:
    async def happen(scene: Scene) -> str:
        os.kill(victim(scene.server), signal.SIGKILL)
        return ""

    return happen


async def _stop_triton(scene: Scene) -> str:
    triton = scene.server.triton
    os.kill(triton, signal.SIGSTOP)
    try:
        await asyncio.sleep(20)
    finally:
        os.kill(triton, signal.SIGCONT)
    if scene.server.triton != triton:
        raise Broken("Triton was started anew")
    return ""


async def _full_disk(scene: Scene) -> str:
    # No file may grow. (Not in Triton: its shared memory consists of files, too.)
    with _limited(resource.RLIMIT_FSIZE, {scene.server.adapter: 0, scene.server.pid: 0}):
        await asyncio.sleep(10)
    return ""


@contextmanager
def _limited(limit: int, values: Mapping[int, int]) -> Iterator[None]:
    """Lower the limit of each process, by its id, for as long as the context lasts."""
    before = {pid: resource.prlimit(pid, limit) for pid in values}
    for pid, value in values.items():
        resource.prlimit(pid, limit, (value, before[pid][1]))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, limit, limits)


async def _slow_clients(scene: Scene) -> str:
    head = b"POST /upload HTTP/1.1\r\nHost: server\r\n"
    body = head + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n--x\r\n"
    # Half of them have not even said what they want.
    beginnings = [head if number % 2 else body for number in range(_SLOW_CLIENTS)]
    async with _connected(scene, beginnings) as connections:
        began = time.monotonic()
        await asyncio.gather(*(_drip(*connection, began) for connection in connections))
        return f"all were cut off within {time.monotonic() - began:.0f} s"


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, began: float) -> None:
    """Send a byte a second until the server has enough of it."""
    with contextlib.suppress(ConnectionError):
        while not reader.at_eof():
            if time.monotonic() - began > _PATIENCE:
                raise Broken(f"a client that sends a byte a second is borne for more than {_PATIENCE:g} s")
            writer.write(b"x")
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1 << 16), 1)


async def _deaf_clients(scene: Scene) -> str:
    # A page of documentation is larger than what the kernel buffers; asked for time and again.
    wanted = b"GET /openapi.json HTTP/1.1\r\nHost: server\r\n\r\n" * 100
    before = len(processes.descriptors(scene.server.adapter))
    sockets = []
    try:
        for _ in range(_SLOW_CLIENTS):
            deaf = socket.socket()
            sockets.append(deaf)
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", scene.server.listeners.adapter))
            deaf.sendall(wanted)
        began = time.monotonic()
        while len(processes.descriptors(scene.server.adapter)) > before + _SLOW_CLIENTS // 10:
            if time.monotonic() - began > 2 * _PATIENCE:
                raise Broken(f"clients that never read keep their connections for more than {2 * _PATIENCE:g} s")
            await asyncio.sleep(1)
        return f"cut off within {time.monotonic() - began:.0f} s"
    finally:
        for deaf in sockets:
            deaf.close()


@asynccontextmanager
async def _connected(
    scene: Scene, beginnings: list[bytes]
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    connections = []
    try:
        for beginning in beginnings:
            reader, writer = await asyncio.open_connection("127.0.0.1", scene.server.listeners.adapter)
            connections.append((reader, writer))
            writer.write(beginning)
        yield connections
    finally:
        for _, writer in connections:
            writer.transport.abort()


def _many_connections(number: int) -> Callable[[Scene], Awaitable[str]]:
    async def happen(scene: Scene) -> str:
        records: list[Record] = await scene.load.all_at_once(number)
        scene.load.records.extend(records)
        right = sum(record.outcome is Outcome.RIGHT for record in records)
        return f"{right} of the {number} were read, {number - right} told to come back"

    return happen


async def _second_server(scene: Scene) -> str:
    began = time.monotonic()
    await _refused(LAUNCH, ROOT, environment(scene.server.listeners), f"OCR_PORT={scene.server.listeners.adapter}")
    return f"the second one named the ports and who holds them after {time.monotonic() - began:.1f} s"


async def _damaged_weights(scene: Scene) -> str:
    with tempfile.TemporaryDirectory(prefix="faults-", dir=ROOT / ".cache") as folder:
        copy = Path(folder)
        for part in ("adapter", "backends", "model_repository", "scripts"):
            shutil.copytree(ROOT / part, copy / part, copy_function=os.link)
        (copy / ".cache").mkdir()
        shutil.copy(ROOT / ".cache" / "weights.json", copy / ".cache")
        weights = next((copy / "model_repository" / "rec_onnx").glob("*/model.onnx"))
        named, whole = str(weights.relative_to(copy)), weights.read_bytes()
        # A link to the file of this repository: another file takes its place.
        weights.unlink()
        middle = len(whole) // 2
        weights.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        began = time.monotonic()
        nowhere = {**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
        command = [sys.executable, "-m", "scripts.weights"]
        await _refused(command, copy, {**nowhere, "PIP_RETRIES": "0"}, f"{named}: damaged")
        flipped = time.monotonic() - began
        weights.write_bytes(whole[:middle])
        began = time.monotonic()
        await _refused(LAUNCH, copy, environment(Listeners.free()), f"{named} cannot be loaded")
        return (
            f"the start named the file {flipped:.1f} s after a bit of it was turned, Triton named it "
            f"{time.monotonic() - began:.1f} s after half of it was cut off"
        )


async def _refused(command: Sequence[str], folder: Path, settings: Mapping[str, str], reason: str) -> None:
    """Run the command, which is to end with status 1 and to say the reason; raise `Broken` where it does not."""
    ended = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env={**settings, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    if ended.returncode != 1 or reason not in ended.stdout:
        raise Broken(f"{' '.join(command)} ended with {ended.returncode} and said: {ended.stdout[-500:]}")


async def _sigterm(scene: Scene) -> str:
    began = time.monotonic()
    scene.server.process.terminate()
    status = await asyncio.to_thread(scene.server.process.wait, 60)
    if status != 0:
        raise Broken(f"it ended with exit status {status}")
    return f"ended after {time.monotonic() - began:.1f} s"
