"""`scripts/ocr`: print the text of pictures."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.client import UploadError, is_ready, upload
from scripts.launch.ports import Listeners, PortError
from scripts.launch.server import ROOT, running_server
from scripts.launch.signals import until_signal
from scripts.launch.supervisor import GaveUp
from scripts.launch.triton import TritonError


def main() -> int:
    """Return the exit status: 0 when every file was read, 1 when one was not, 130 when a signal came first."""
    parser = argparse.ArgumentParser(prog="ocr", description="Print the text of pictures, line by line.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--profile", help="which set of weights reads them; the server's default if not given")
    arguments = parser.parse_args()
    options = {"profile": arguments.profile} if arguments.profile else {}
    try:
        server = _running_server(os.environ)
        if server:
            return _read(server, arguments.files, options)
        subprocess.run([sys.executable, "-m", "scripts.weights"], cwd=ROOT, stdout=sys.stderr, check=True)
        status = asyncio.run(until_signal(_start_and_read(arguments.files, options)))
        return 130 if status is None else status
    except (PortError, subprocess.CalledProcessError) as error:
        return _complain(str(error))


def _running_server(environment: Mapping[str, str]) -> str | None:
    named = environment.get("OCR_SERVER")
    if named:
        return named.rstrip("/")
    local = f"http://127.0.0.1:{Listeners.from_environment(environment).adapter}"
    return local if is_ready(local) else None


async def _start_and_read(files: list[Path], options: Mapping[str, str]) -> int:
    said: list[str] = []
    try:
        async with running_server(Listeners.free(), said.append) as server:
            return await asyncio.to_thread(_read, server.url, files, options)
    except (PortError, TritonError, GaveUp) as error:
        return _complain("\n".join([*said, str(error)]))


def _read(server: str, files: list[Path], options: Mapping[str, str]) -> int:
    status = 0
    for file in files:
        try:
            answer = upload(server, file, options)
        except OSError as error:
            status = _complain(f"{file}: {error.strerror}")
            continue
        except UploadError as error:
            status = _complain(f"{file}: {error}")
            continue
        if len(files) > 1:
            print(f"==> {file} <==")
        print("".join(f"{result['text']}\n" for result in answer["results"]), end="", flush=True)
    return status


def _complain(message: str) -> int:
    print(f"ocr: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
