"""Whether /dev/shm has room for what Triton's Python stubs take there when they start."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.launch.repository import configuration
from scripts.launch.rundir import SHARED_MEMORY
from scripts.launch.triton import STUB_MEMORY, Installation, TritonError, models


def check_room(installation: Installation, repository: Path, folder: Path = SHARED_MEMORY) -> None:
    """See that the models that are loaded at the start find room; those of others are asked for when they are loaded.

    Triton by itself would say so once it had loaded what fits, and of one model.

    Args:
        installation: what runs the models.
        repository: the model repository as it is given to Triton.
        folder: where shared memory is kept.

    Raises:
        TritonError: there is too little; the message says how much is there, how much is needed, and what helps.
    """
    # A model that is missing is Triton's to name.
    folders = [repository / model for model in models(installation) if (repository / model).exists()]
    needed = STUB_MEMORY * sum(_stubs(installation, model) for model in folders)
    usage = shutil.disk_usage(folder)
    if usage.total and usage.free < needed:  # a file system without a bound has a size of 0
        raise TritonError(
            f"{folder} has {usage.free >> 20} MB free, and Triton's Python models take {needed >> 20} MB of it at the "
            "start, and more for large pages; a container's is made larger by docker run --shm-size 2g"
        )


def _stubs(installation: Installation, model: Path) -> int:
    """How many a model has: one for each instance of each version, where its backend is written in Python."""
    config = configuration(model, installation.configuration)
    if config.backend != "python" and not (installation.backends / config.backend / "model.py").exists():
        return 0
    versions = sum(folder.name.isdigit() for folder in model.iterdir())
    return versions * int(config.instance_group[0].count)
