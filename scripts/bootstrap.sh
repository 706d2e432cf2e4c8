# Sourced by the commands beside it, with the name of a lock file: `. bootstrap.sh server`, or `test`, or `vlm`.
# Makes .venv hold what locks/NAME.txt lists (and what else it holds already), and sets
#   ROOT    the folder of the repository
#   PYTHON  the interpreter of .venv
# OCR_PYTHON names the interpreter to make .venv with; by default a python3 on PATH.
#
# A stamp, .venv/.NAME, tells that an installation is complete: it holds the checksum of the lock file. An environment
# whose stamp does not fit (an interrupted installation, a changed lock) is made anew.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=$ROOT/.venv/bin/python

unset PYTHONHOME
export PYTHONPATH=$ROOT PYTHONUTF8=1

checksum() { sha256sum <"$ROOT/locks/$1.txt"; }

is_installed() { [[ -f $ROOT/.venv/.$1 && $(<"$ROOT/.venv/.$1") == "$(checksum "$1")" ]]; }

# Whether .venv was made with the interpreter that OCR_PYTHON asks for, if it asks, and that interpreter is still there.
is_wanted_python() {
  [[ -x $PYTHON ]] || return
  [[ -z ${OCR_PYTHON:-} ]] || [[ $(interpreter "$OCR_PYTHON") == "$(interpreter "$PYTHON")" ]]
}

interpreter() { "$1" -c 'import os, sys; print(os.path.realpath(sys.executable))'; }

find_python() {
  local candidate candidates=(python3 python3.12 python3.11 python3.10)
  [[ -z ${OCR_PYTHON:-} ]] || candidates=("$OCR_PYTHON")
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "No ${OCR_PYTHON:-python3} with a version of 3.10, 3.11 or 3.12 was found: apt-get install python3 python3-venv" >&2
  return 1
}

install_torch() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "The vision-language models need Python 3.11 or 3.12: name one in OCR_PYTHON, and remove .venv" >&2
    return 1
  }
  "$PYTHON" -m pip install --no-deps --only-binary=:all: --no-user --compile --no-input --disable-pip-version-check \
    -r "$ROOT/locks/torch.txt" || {
    echo "pip found no PyTorch for CPUs: tell it where to look, with PIP_EXTRA_INDEX_URL for one (locks/torch.txt)" >&2
    return 1
  }
}

# PyPI's torchvision is built for CUDA: beside PyTorch for CPUs its operators cannot be loaded, and the module that
# describes them to PyTorch's compiler fails. The transforms, all that is used of it, need neither.
mend_torchvision() {
  "$PYTHON" -c 'import torchvision' 2>/dev/null && return
  : >"$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torchvision/_meta_registrations.py"
  "$PYTHON" -c 'import torchvision'
}

install() {
  local python
  # Every lock holds all that the server lock holds, and what two hold is the same version.
  if ! { is_installed server && is_wanted_python; }; then
    python=$(find_python)
    "$python" "$ROOT/scripts/machine.py"
    echo "Making .venv with $("$python" --version) ($python)"
    "$python" -m venv --clear "$ROOT/.venv"
  fi
  rm -f "$ROOT/.venv/.server" "$ROOT/.venv/.$1"
  [[ $1 != vlm ]] || install_torch
  # --compile: byte code is what makes the server start fast, whatever the environment says of writing it.
  "$PYTHON" -m pip install --require-hashes --no-deps --only-binary=:all: --no-user --compile \
    --no-input --disable-pip-version-check -r "$ROOT/locks/$1.txt"
  [[ $1 != vlm ]] || mend_torchvision
  checksum server >"$ROOT/.venv/.server"
  checksum "$1" >"$ROOT/.venv/.$1"
}

if ! { is_installed "$1" && is_wanted_python; }; then
  mkdir -p "$ROOT/.cache"
  # One at a time; who waited finds it done.
  (
    flock 9
    { is_installed "$1" && is_wanted_python; } || install "$1" >&2
  ) 9>"$ROOT/.cache/bootstrap.lock"
fi
