"""`python -m scripts.launch.health`: exits with 0 while what runs here (Triton, the adapter, both) is ready, else 1.

For a container's health check.
"""

from __future__ import annotations

import os
import sys

from scripts.client import answers
from scripts.launch.state import noted_health, state_folder


def main() -> int:
    urls = noted_health(state_folder(os.environ))
    return 0 if urls and all(map(answers, urls)) else 1


sys.exit(main())
