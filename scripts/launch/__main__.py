"""`python -m scripts.launch`: run the server until SIGINT or SIGTERM, and read the example picture once it is ready."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time

from scripts.client import UploadError, upload
from scripts.launch.layout import SettingError, wish
from scripts.launch.ports import Listeners, PortError
from scripts.launch.server import ROOT, TRITON_URL_SETTING, TUNED, Parts, Server, running_server
from scripts.launch.signals import until_signal
from scripts.launch.supervisor import GaveUp
from scripts.launch.triton import TritonError

EXAMPLE = ROOT / "docs" / "example.png"


def main() -> int:
    """Return the exit status: 0 when it was told to stop, 1 when it could not start or gave up."""
    parser = argparse.ArgumentParser(
        prog="scripts/serve",
        description="Run the server.",
        epilog="Before it starts, scripts/serve sets everything up. For that it takes --vlm, to install what the "
        "vision-language models need, and --offline DIR, to install from what scripts/fetch --into DIR has gathered.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("serve", "triton"),
        default="serve",
        help=f"serve (the default): Triton and the adapter, or the adapter alone where {TRITON_URL_SETTING} names a "
        "Triton elsewhere; triton: Triton alone",
    )
    parser.add_argument(
        "--drop-in",
        action="store_true",
        help="open the port of each API's own document as well (7861, 8000, 5000), and Triton's from 8100 on",
    )
    arguments = parser.parse_args()
    alone = arguments.what == "triton"
    parts = Parts(triton=alone or not os.environ.get(TRITON_URL_SETTING), adapter=not alone)
    try:
        asyncio.run(until_signal(_serve(Listeners.from_environment(os.environ, arguments.drop_in), parts)))
    except (PortError, SettingError, TritonError, GaveUp) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _serve(listeners: Listeners, parts: Parts) -> None:
    began = time.monotonic()
    async with running_server(listeners, _say, parts) as server:
        _say(f"Ready after {time.monotonic() - began:.1f} s.")
        if parts.adapter:
            await _read_example(server)
        _say(_addresses(listeners, parts))
        warming = asyncio.create_task(_warm_up(listeners, began) if parts.triton else asyncio.sleep(0))
        try:
            await server.gave_up
        finally:
            warming.cancel()


async def _warm_up(listeners: Listeners, began: float) -> None:
    from scripts.launch.warmup import warm_up  # noqa: PLC0415 - takes longer to import than the rest of the launcher

    triton = f"{listeners.local_host}:{listeners.grpc}"
    if await warm_up(triton, ROOT / "model_repository", wish(os.environ, TUNED), EXAMPLE.read_bytes()):
        _say(f"Warm after {time.monotonic() - began:.1f} s.")


async def _read_example(server: Server) -> None:
    began = time.monotonic()
    try:
        answer = await asyncio.to_thread(upload, server.url, EXAMPLE)
    except UploadError as error:
        _say(f"The example picture could not be read: {error}")
        return
    lines = [result["text"] for result in answer["results"]]
    _say(f"\n{EXAMPLE.relative_to(ROOT)}: {len(lines)} lines in {time.monotonic() - began:.2f} s")
    _say("".join(f"  {line}\n" for line in lines))


def _addresses(listeners: Listeners, parts: Parts) -> str:
    host = listeners.local_host
    rows = {}
    if parts.adapter:
        rows[f"http://{host}:{listeners.adapter}"] = "the HTTP APIs; /docs describes them"
        for port, name in (
            (listeners.paddleocr_service, "the PaddleOCR service"),
            (listeners.internvl, "InternVL"),
            (listeners.dots, "DotsOCR"),
        ):
            if port:
                rows[f"http://{host}:{port}"] = f"{name} alone"
    if parts.triton:
        rows |= {
            f"http://{host}:{listeners.http}": "Triton's HTTP protocol",
            f"{host}:{listeners.grpc}": "Triton's gRPC protocol",
            f"http://{host}:{listeners.metrics}/metrics": "Triton's metrics",
        }
    width = max(map(len, rows))
    table = "".join(f"  {address:{width}}  {what}\n" for address, what in rows.items())
    return f"Open (on {listeners.host}):\n{table}Ctrl-C stops it."


def _say(line: str) -> None:
    print(line, flush=True)


sys.exit(main())
