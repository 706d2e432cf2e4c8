"""The whole server: Triton, and the adapter before it; or one of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.client import answers
from scripts.launch import dots, repository, shared_memory, triton
from scripts.launch.layout import Precision, Wanted, wish
from scripts.launch.loading import Loadable, Loader
from scripts.launch.ports import Listeners
from scripts.launch.rundir import RunDirectory, run_directory
from scripts.launch.state import note_health, runs, state_folder
from scripts.launch.supervisor import Service, adopt_orphans, keep_running

ROOT = Path(__file__).resolve().parents[2]

# What scripts/tune has found.
TUNED = ROOT / ".cache" / "layouts.json"

# Together less than the 10 s that containers and init systems give.
_ADAPTER_STOP_TIMEOUT = 6.0  # one more than its own
_TRITON_STOP_TIMEOUT = triton.EXIT_TIMEOUT + 0.5
_READY_INTERVAL = 0.1

# Names the Triton of an adapter that stands alone.
TRITON_URL_SETTING = "OCR_TRITON_URL"
# What opens Triton's model control. Unset, it is drawn anew at each start, and nobody else knows it.
_KEY_SETTING = "OCR_TRITON_KEY"
# Settings of glibc's malloc, for all that is run.
_MALLOC = {
    # Otherwise each thread that allocates gets an arena of its own, up to eight for each core, and what one of them was
    # once given for a large picture the others cannot use.
    "MALLOC_ARENA_MAX": "2",
    # What a large picture took is given back: otherwise, once a large block was freed, blocks of up to 32 MiB lie among
    # small ones, which hold them fast. (Where the first threshold is set, the second does not follow it by itself.)
    # The vision-language models undo it for themselves.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(2 << 20),
}


@dataclass(frozen=True)
class Parts:
    """What of the server is run here."""

    triton: bool = True
    adapter: bool = True


@dataclass(frozen=True)
class Server:
    """A server that has been ready once, and that has loaded, or failed to load, the models that were asked for.

    Attributes:
        url: base URL of the HTTP APIs, as seen from this machine, whether they are served or not.
        gave_up: is done (with an exception) when a service died and is not started again.
    """

    url: str
    gave_up: asyncio.Future[None]


@asynccontextmanager
async def running_server(
    listeners: Listeners, say: Callable[[str], None], parts: Parts = Parts(), wanted: Wanted | None = None
) -> AsyncIterator[Server]:
    """Start Triton and the adapter, wait until they are ready, and stop them at the end.

    Where settings name weights of the vision-language models, these are loaded, and kept loaded. One that cannot be is
    a message.

    Args:
        listeners: where to listen.
        parts: which of the two is started.
        say: takes every line for a person's eyes: what the services print and what becomes of them.
        wanted: how the OCR models are to run; None: as the environment asks, and scripts/tune has found.

    Raises:
        SettingError: OCR_PRECISION, OCR_MODE or OCR_DEFAULT_PROFILE has no such value.
        PortError: a port is in use; nothing has been started.
        TritonError: Triton cannot run on this machine.
        GaveUp: a service died before it was ready.
    """
    wanted = wanted or wish(os.environ, TUNED, say)
    listeners.check_free(triton=parts.triton, adapter=parts.adapter)
    adopt_orphans()
    url = f"http://{listeners.local_host}:{listeners.adapter}"
    triton_url = f"http://{listeners.local_host}:{listeners.http}"
    key = os.environ.get(_KEY_SETTING) or secrets.token_hex(16)
    state = state_folder(os.environ)
    to_load = loadable(os.environ) if parts.triton else []
    ready = asyncio.Event()
    with run_directory(runs(state)) as run:
        note_health(run.path, f"{url}/ping" if parts.adapter else f"{triton_url}/v2/health/ready")
        async with contextlib.AsyncExitStack() as stack:
            # Held here, so that connections wait for the adapter, rather than be refused, while it is started again.
            sockets = listeners.open_adapter() if parts.adapter else []
            stack.callback(_close, sockets)
            to_run, probes = [], []
            if parts.triton:
                logs = state / "logs"
                to_run.append(_triton(listeners, run, logs, key, say=say, wanted=wanted))
                # Triton is live once it has loaded the models of its command line; it is not ready as long as any other
                # has failed.
                probes.append(f"{triton_url}/v2/health/live")
            if parts.adapter:
                to_run.append(_adapter(listeners, sockets, key, own_triton=parts.triton, say=say))
                probes.append(f"{url}/ping")
            names = [name for name, here in (("Triton", parts.triton), ("the adapter", parts.adapter)) if here]
            say(f"Starting {' and '.join(names)}.")
            # Left in reverse: the adapter stops taking requests first, and Triton then has none in flight.
            services = [
                await stack.enter_async_context(_task(keep_running(service, ready.is_set, say))) for service in to_run
            ]
            # Before the adapter is told to stop: nobody is to wait for what does not come any more.
            stack.callback(_close, sockets)
            loaders = [Loader(triton_url, key, each, say) for each in to_load]
            services += [await stack.enter_async_context(_task(loader.run())) for loader in loaders]
            gave_up = asyncio.ensure_future(_first(services))
            stack.callback(gave_up.cancel)
            stack.callback(say, "Stopping.")
            # Triton first, because the adapter logs each time that it has to say no.
            for probe in probes:
                while not await asyncio.to_thread(answers, probe):
                    await _pause(gave_up)
            ready.set()
            for loader in loaders:
                while not loader.settled:
                    await _pause(gave_up)
            yield Server(url, gave_up)


@asynccontextmanager
async def _task(coroutine: Coroutine[None, None, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _first(tasks: list[asyncio.Task[None]]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _pause(gave_up: asyncio.Future[None]) -> None:
    if gave_up.done():
        await gave_up
    await asyncio.sleep(_READY_INTERVAL)


def loadable(environment: Mapping[str, str]) -> list[Loadable]:
    """The models whose weights the environment names."""
    found = []
    if weights := environment.get("MODEL_PATH"):
        # Its process reads the setting itself. Unloaded, it is so by /model/reload, which loads it anew.
        found.append(Loadable("internvl_python", weights))
    if weights := environment.get(dots.SETTING):
        found.append(dots.loadable(ROOT / "model_repository", weights))
    return found


def _triton(
    listeners: Listeners,
    run: RunDirectory,
    logs: Path,
    key: str,
    *,
    say: Callable[[str], None],
    wanted: Wanted,
) -> Service:
    installation = triton.installation(os.environ, run.plain / "backends", ROOT / "backends")
    models = ROOT / "model_repository"
    # The layout is a CPU's; what another configuration says of instances and threads holds.
    on_cpu = installation.configuration == triton.CONFIGURATION
    if on_cpu and wanted.precision is Precision.FAST and not repository.has_bfloat16():
        say("OCR_PRECISION=fast: this processor has no bfloat16, so the networks compute in float32.")
        wanted = replace(wanted, precision=Precision.EXACT)
    if on_cpu or wanted.profile:
        models = run.plain / "models"
        repository.build(models, ROOT / "model_repository", installation.configuration, wanted)
    shared_memory.check_room(installation, models)
    log = triton.ServerLog(logs / "triton.log", say)
    return Service(
        name="Triton",
        command=triton.command(installation, listeners, models, run.shared_memory_prefix, key),
        environment={**_MALLOC, **installation.environment, "TMPDIR": str(run.temporary)},
        stop_timeout=_TRITON_STOP_TIMEOUT,
        drained=lambda: log.drained,
        ailment=triton.StubWatch(),
        refusal=lambda: log.refusal,
        clean_up=run.remove_leftovers,
        output=log,
    )


def _close(sockets: Sequence[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


def _adapter(
    listeners: Listeners,
    sockets: Sequence[socket.socket],
    key: str,
    *,
    own_triton: bool,
    say: Callable[[str], None],
) -> Service:
    descriptors = [listener.fileno() for listener in sockets]
    where = {TRITON_URL_SETTING: f"{listeners.local_host}:{listeners.grpc}"} if own_triton else {}
    return Service(
        name="The adapter",
        command=[sys.executable, "-m", "adapter"],
        environment={
            **_MALLOC,
            "OCR_LOG_LEVEL": "WARNING",  # INFO is a line for each request
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OCR_HOST": listeners.host,
            **{setting: str(port) for setting, port in listeners.by_setting.items()},
            _KEY_SETTING: key,
            **where,
            "OCR_LISTEN_FDS": ",".join(map(str, descriptors)),
        },
        stop_timeout=_ADAPTER_STOP_TIMEOUT,
        output=say,
        descriptors=descriptors,
    )
