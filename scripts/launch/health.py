"""`python -m scripts.launch.health [serve|triton]`: exits with 0 while what the same word starts is ready, else with 1.

For a container's health check: the ports come from the settings, as they do for the server.
"""

from __future__ import annotations

import argparse
import os
import sys

from scripts.client import answers
from scripts.launch.ports import Listeners


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts.launch.health")
    parser.add_argument("what", nargs="?", choices=("serve", "triton"), default="serve")
    listeners = Listeners.from_environment(os.environ)
    path = {"serve": f"{listeners.adapter}/ping", "triton": f"{listeners.http}/v2/health/ready"}
    return 0 if answers(f"http://{listeners.local_host}:{path[parser.parse_args().what]}") else 1


sys.exit(main())
