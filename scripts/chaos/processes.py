"""The processes of a running server, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from scripts.launch.rundir import SHARED_MEMORY
from scripts.launched import Launched, children, descendants


class NotFound(LookupError):  # noqa: N818 - it reads as what happened
    """The server has no such process."""


def stub(model: str, server: Launched) -> int:
    """Of the stubs of a model, the one that has worked most: the version or instance that clients depend on."""
    stubs = [pid for pid, command in server.stubs.items() if f"/{model}/" in command]
    if not stubs:
        raise NotFound(f"no stub of {model}")
    return max(stubs, key=_ticks)


def vllm_engine(server: Launched) -> int:
    """The process that vLLM gives its engine."""
    for parent in (server.triton, *descendants(server.triton)):
        for pid, title in children(parent):
            if title.startswith("VLLM::EngineCore"):
                return pid
    raise NotFound("no engine of vLLM's")


def pdf_worker(server: Launched) -> int:
    """The process that makes readers of PDFs."""
    for pid, command in children(server.adapter):
        if "pdf_worker" in command:
            return pid
    raise NotFound("no worker for PDFs")


def named(server: Launched) -> dict[str, int]:
    """Every process that stays, by a name that says what it is for."""
    found = {"launcher": server.pid, "tritonserver": server.triton, "adapter": server.adapter}
    found["PDF worker"] = pdf_worker(server)
    instances: dict[str, int] = {}
    for pid, command in sorted(server.stubs.items()):
        # …/REPOSITORY/MODEL/VERSION/FILE
        model, version = command.split()[1].split("/")[-3:-1]
        # Where it was loaded with files from elsewhere Triton has made a folder for it.
        name = "dots_vllm" if model.startswith("folder") else f"{model} {version}"
        instances[name] = instances.get(name, 0) + 1
        found[name if instances[name] == 1 else f"{name} #{instances[name]}"] = pid
    with suppress(NotFound):
        found["vLLM's engine"] = vllm_engine(server)
    return found


def memory(pid: int) -> int:
    """Bytes of memory that the process has of its own, and of the shared memory that it sees, mapped once or more.

    That is taken as a whole when it is made, touched or not. Mapped files are not counted.
    """
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) * 1024 + sum(map(_taken, _regions(pid)))


def _regions(pid: int) -> set[Path]:
    """The regions of POSIX shared memory in the process's address space."""
    paths = (line.split(maxsplit=5)[5:] for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    return {Path(path[0]) for path in paths if path and path[0].startswith(f"{SHARED_MEMORY}/")}


def _taken(region: Path) -> int:
    try:
        return region.stat().st_blocks * 512  # stat(2): of 512 bytes
    except FileNotFoundError:  # unlinked meanwhile
        return 0


def peak(pid: int) -> int:
    """Bytes of memory that the process had in use at most, mapped files among them."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def descriptors(pid: int) -> list[str]:
    """What each open file descriptor of the process leads to."""
    return list(_targets(pid))


def _targets(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(entry.readlink())


def _ticks(pid: int) -> int:
    # proc(5): utime and stime are fields 14 and 15, counted from 1; comm may hold blanks and brackets.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
