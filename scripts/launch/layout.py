"""How the OCR models are to run: in which precision, and with how many instances and threads each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

PRECISION_SETTING, MODE_SETTING, PROFILE_SETTING = "OCR_PRECISION", "OCR_MODE", "OCR_DEFAULT_PROFILE"

# Each instance is a process that holds the weights of a profile.
_MOST_INSTANCES = 8


class SettingError(Exception):
    """A setting has no such value; the message names it."""


class Precision(Enum):
    """OCR_PRECISION: what the networks compute in."""

    EXACT = "exact"  # float32
    FAST = "fast"  # bfloat16, where the processor has it


class Mode(Enum):
    """OCR_MODE: what the cores are for."""

    LATENCY = "latency"  # one picture's answer as soon as can be
    THROUGHPUT = "throughput"  # as many pictures as can be


@dataclass(frozen=True)
class Instances:
    """`count` copies of a model that work at the same time, each with so many threads."""

    count: int
    threads: int


@dataclass(frozen=True)
class Layout:
    """Who gets the cores.

    Attributes:
        detection: instances of det_onnx.
        recognition: instances of rec_onnx.
        small: instances of each of the other networks.
        pages: instances of ocr_ensemble, each of which reads one picture at a time.
        lines: of one page in one call to rec_onnx.
    """

    detection: Instances
    recognition: Instances
    small: Instances
    pages: int
    lines: int

    def of(self, network: str) -> Instances:
        """The instances of a network."""
        return {"det_onnx": self.detection, "rec_onnx": self.recognition}.get(network, self.small)


def usual(mode: Mode, cpus: int) -> Layout:
    """The layout for a machine on which none has been tried out.

    Instances of one thread compute 5 to 28 % more than one of many threads (two cores), which wait for each other after
    each of a network's operators. A page has many lines to share among them, but is one picture to find them in: there
    two threads are nearly twice as fast as one. Of a page's lines, six in a call make little of the way to the
    network, as many as PP-OCR pads alike; more would be a long wait for a short page behind a long one.
    """
    count = min(cpus, _MOST_INSTANCES)
    pictures = 1 if mode is Mode.LATENCY else max(1, count // 4)
    return Layout(
        detection=Instances(pictures, cpus // pictures),
        recognition=Instances(count, max(1, cpus // count)),
        small=Instances(1, min(cpus, 4)),
        pages=2 * count,
        lines=6,
    )


@dataclass(frozen=True)
class Machine:
    """What a layout was found on, and holds for."""

    processor: str
    cpus: int

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        return cls(name, len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Wanted:
    """How the OCR models are to run.

    Attributes:
        precision: what the networks compute in.
        layout: who gets the cores.
        profile: the one that reads where a request names none; None: the model repository's.
    """

    precision: Precision
    layout: Layout
    profile: str | None = None


def wish(environment: Mapping[str, str], tuned: Path, say: Callable[[str], None] = lambda line: None) -> Wanted:
    """What OCR_PRECISION, OCR_MODE and OCR_DEFAULT_PROFILE ask for, on this machine.

    Args:
        environment: where the settings are.
        tuned: the file that `save` has written, if it has.
        say: told where that file is of no use.

    Raises:
        SettingError: one of the first two has no such value.
    """
    mode = _choice(environment, MODE_SETTING, Mode, Mode.THROUGHPUT)
    precision = _choice(environment, PRECISION_SETTING, Precision, Precision.EXACT)
    layout = found(tuned, Machine.here(), mode, say)
    return Wanted(precision, layout, environment.get(PROFILE_SETTING) or None)


def save(path: Path, machine: Machine, layouts: Mapping[Mode, Layout]) -> None:
    """Keep the layouts that were found on a machine."""
    kept = {mode.value: asdict(layout) for mode, layout in layouts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"machine": asdict(machine), "layouts": kept}, indent=1) + "\n")
    unfinished.replace(path)


def found(path: Path, machine: Machine, mode: Mode, say: Callable[[str], None]) -> Layout:
    """The layout that was found for that mode on such a machine, else the usual one.

    A file that cannot be read, which may be of another version, is said, and as good as none.
    """
    try:
        layout = _kept(path, machine, mode)
    except FileNotFoundError:
        layout = None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        say(f"{path} is not as this scripts/tune writes it: the usual layout is taken until it is run again.")
        layout = None
    return layout or usual(mode, machine.cpus)


def _kept(path: Path, machine: Machine, mode: Mode) -> Layout | None:
    """None where the file is about another machine. Raises what comes of reading a file that may hold anything."""
    kept: dict[str, Any] = json.loads(path.read_text())
    if Machine(**kept["machine"]) != machine:
        return None
    values: dict[str, Any] = kept["layouts"][mode.value]
    values |= {name: Instances(**value) for name, value in values.items() if isinstance(value, dict)}
    return Layout(**values)


_Choice = TypeVar("_Choice", bound=Enum)


def _choice(environment: Mapping[str, str], setting: str, kind: type[_Choice], default: _Choice) -> _Choice:
    value = environment.get(setting) or default.value
    if value not in {choice.value for choice in kind}:
        raise SettingError(f"{setting} must be {' or '.join(choice.value for choice in kind)}, not {value!r}")
    return kind(value)
