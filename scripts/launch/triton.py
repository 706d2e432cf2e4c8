"""Triton: as a rule the `tritonserver` of the nvidia-pytriton wheel, given the backends of this repository."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.launch.ports import Listeners, in_url
from scripts.launch.rundir import needs_quotes
from scripts.machine import LIBPYTHON, VERSION, libpython_directory

# The models of the OCR pipeline.
MODELS = ("doc_onnx", "det_onnx", "cls_onnx", "rec_onnx", "ocr_ensemble")

# The folder of a Triton that is installed on this machine, and the models' named configuration (configs/NAME.pbtxt) for
# its ONNX Runtime. Unset, the wheel's Triton runs, with that for the ONNX Runtime that the lock file installs. A model
# without such a configuration takes its config.pbtxt.
HOME_SETTING = "OCR_TRITON_HOME"
CONFIGURATION_SETTING = "OCR_TRITON_CONFIG"
CONFIGURATION = "openvino"

# Over gRPC its name is preceded by "triton-grpc-protocol-".
ADMIN_HEADER = "ocr-admin"

# Seconds that Triton gives requests in flight to finish once it is told to stop. Those of the adapter are done by then.
EXIT_TIMEOUT = 3

# Seconds that a Python stub may take to start. On a busy machine it takes more than Triton's own bound, 30; what Triton
# does then is to hang, or to abort.
_STUB_TIMEOUT = 300
# Bytes of shared memory for a stub's tensors, and by which it grows where they do not fit. A page's lines mostly do at
# first, and any page does after one step. By smaller ones, holes between tensors of many sizes have it grow for a long
# time, and the stub sees all of it once more each time.
STUB_MEMORY, _STUB_MEMORY_STEP = 4 << 20, 48 << 20

_PACKAGES = Path(sysconfig.get_path("platlib"))
_WHEEL = _PACKAGES / "pytriton" / "tritonserver"
_LIBRARIES = _PACKAGES / "nvidia_pytriton.libs"


# Information (severity I), the tables that follow some of it, the acknowledgement of a signal, and complaints of every
# start without a GPU, and of every model that is loaded with a configuration of its own. Of a model that cannot be
# loaded: what is said of each instance before it is said of the model, and where in its code an exception was raised.
_ROUTINE = re.compile(
    r"I\d{4} |[+|]|Signal |.*CudaDriverHelper has not been initialized|.*Failed to set config modification time|"
    r".*ERROR: Failed to create instance|At:$|  .+\(\d+\): \S+$|;$"
)
# The same within a line.
_WHERE = re.compile(r"\\n\\nAt:\\n.*(?=\"$)")
_DRAINED = "All models are stopped, unloading models"
_REFUSAL = "error: creating server: "


class TritonError(Exception):
    """The server cannot be started on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Installation:
    """A Triton that can be run.

    Attributes:
        server: the executable.
        backends: what --backend-directory names.
        environment: in which it finds its libraries, and its Python stubs their packages.
        configuration: what --model-config-name names.
    """

    server: Path
    backends: Path
    environment: Mapping[str, str]
    configuration: str


def installation(inherited: Mapping[str, str], directory: Path, own_backends: Path) -> Installation:
    """The Triton that a setting names, as it is; else the wheel's.

    Args:
        inherited: the environment.
        directory: where the wheel's backends may be laid out.
        own_backends: this repository's, for the wheel's Triton.

    Raises:
        TritonError: there is none, or it cannot run here.
    """
    configuration = inherited.get(CONFIGURATION_SETTING) or CONFIGURATION
    if not inherited.get(HOME_SETTING):
        build_backend_directory(directory, own_backends)
        return Installation(_WHEEL / "bin" / "tritonserver", directory, environment(inherited), configuration)
    home = Path(inherited[HOME_SETTING])
    server = home / "bin" / "tritonserver"
    if not server.exists():
        raise TritonError(f"{HOME_SETTING}: there is no {server}")
    libraries = _joined(str(home / "lib"), inherited.get("LD_LIBRARY_PATH"))
    return Installation(server, home / "backends", {**inherited, "LD_LIBRARY_PATH": libraries}, configuration)


def build_backend_directory(destination: Path, own_backends: Path) -> None:
    """Lay out what --backend-directory names: the wheel's Python backend, and beside it this repository's backends.

    The Python backend is copied, because Triton refuses a backend library whose real path lies outside; the stub has
    to be the one of the running Python, and executable.

    Raises:
        TritonError: the wheel has no stub for the running Python.
    """
    stub = _WHEEL / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
    if not stub.exists():
        raise TritonError(f"nvidia-pytriton has no Python backend for Python {VERSION}")
    python = destination / "python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copyfile(_WHEEL / "backends" / "python" / name, python / name)
    shutil.copyfile(stub, python / stub.name)
    (python / stub.name).chmod(0o755)
    for backend in own_backends.iterdir():
        if (backend / "model.py").exists():
            (destination / backend.name).symlink_to(backend)


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the server finds its libraries, and its Python stubs this virtual environment.

    Raises:
        TritonError: the machine has no libpython for the running Python.
    """
    libpython = libpython_directory()
    if libpython is None:
        raise TritonError(f"{LIBPYTHON} is missing: apt-get install libpython{VERSION}")
    # The stub's interpreter looks for a `python3` on PATH, and finds its packages by the pyvenv.cfg beside it.
    return {
        **inherited,
        "LD_LIBRARY_PATH": _joined(str(_LIBRARIES), str(libpython), inherited.get("LD_LIBRARY_PATH")),
        "PATH": _joined(str(Path(sys.prefix) / "bin"), inherited.get("PATH")),
    }


def models(triton: Installation) -> list[str]:
    """The models to load at the start: the OCR pipeline's, where there is what runs networks."""
    return [*MODELS] if (triton.backends / "onnxruntime").exists() else []


def command(
    triton: Installation, listeners: Listeners, repository: Path, shared_memory_prefix: str, key: str
) -> list[str]:
    """The server's command line.

    Args:
        triton: what to run.
        listeners: the addresses to listen on.
        repository: the model repository.
        shared_memory_prefix: how the names of the shared memory regions of the Python stubs begin.
        key: the value of the header `ADMIN_HEADER`, without which no client may change what the server runs.

    Raises:
        TritonError: a folder has a name that Triton's Python backend cannot cope with.
    """
    for folder in (triton.backends, repository):
        if needs_quotes(folder):
            raise TritonError(f"{folder}: Triton's Python backend cannot run from here, since bash minds the name")
    restricted = f"model-repository,logging,trace:{ADMIN_HEADER}={key}"
    return [
        str(triton.server),
        f"--model-repository={repository}",
        f"--backend-directory={triton.backends}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models(triton)),
        f"--model-config-name={triton.configuration}",
        # Every configuration is complete; without this each Python model would be started twice, once to ask it.
        "--disable-auto-complete-config",
        f"--http-address={'ipv6:' * (':' in listeners.host)}{listeners.host}",
        f"--http-port={listeners.http}",
        f"--grpc-address={in_url(listeners.host)}",
        f"--grpc-port={listeners.grpc}",
        f"--metrics-port={listeners.metrics}",
        # A client may look this often, in ms, whether the connection still stands.
        "--grpc-http2-min-recv-ping-interval-without-data=5000",
        f"--exit-timeout-secs={EXIT_TIMEOUT}",
        # Loading a model can bring its code along, and the other two name files to write: not for everybody's hands.
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
        # Holds for the backends that are written in Python too.
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        f"--backend-config=python,shm-default-byte-size={STUB_MEMORY}",
        f"--backend-config=python,shm-growth-byte-size={_STUB_MEMORY_STEP}",
        f"--backend-config=python,stub-timeout-seconds={_STUB_TIMEOUT}",
        *([] if has_gpu() else ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]),
    ]


class StubWatch:
    """Tells when a Python stub of the server has died.

    Triton neither reaps nor restarts a stub that was killed, still calls its model ready, and fails every request to
    it: what is to be seen is a child that stays a zombie. (A stub that Triton ends itself is one for a moment only.)
    """

    def __init__(self) -> None:
        self._zombies: set[int] = set()

    def __call__(self, server: int) -> str | None:
        """What is wrong with the server of this process id, judged by this call and the one before."""
        before, self._zombies = self._zombies, set(_zombies(server))
        return "has lost a Python stub" if before & self._zombies else None


class ServerLog:
    """Keeps everything that the server prints in a file, and passes on what a person has to know.

    Attributes:
        drained: whether the server has been told to stop and has answered every request. What it does from then on,
            unloading its models one Python stub a second, need not be waited for.
        refusal: why the server cannot start, where it has said so. It may crash after that.
    """

    _BYTES = 10 << 20

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = logging.handlers.RotatingFileHandler(path, maxBytes=self._BYTES, backupCount=1)
        self._say = say
        self.drained = False
        self.refusal: str | None = None

    def __call__(self, line: str) -> None:
        """Take one line."""
        self.drained |= _DRAINED in line
        self._file.emit(logging.makeLogRecord({"msg": line}))
        if line.startswith(_REFUSAL):
            self.refusal = line.removeprefix(_REFUSAL)
        elif line and not _ROUTINE.match(line):
            self._say(_WHERE.sub("", line))


def _zombies(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # proc(5): pid (comm) state ppid …; comm may hold blanks and brackets.
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has just ended
            continue
        if state == "Z" and int(ppid) == parent:
            yield int(stat.parent.name)


def has_gpu() -> bool:
    """Whether this machine has one of NVIDIA's or AMD's."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()


def _joined(*folders: str | None) -> str:
    return os.pathsep.join(folder for folder in folders if folder)
