"""`python -m scripts.weights`: makes the weights in model_repository/ complete."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from scripts.weights.errors import WeightsError
from scripts.weights.fetch import fetch

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """The exit status: 0 when the weights are complete."""
    parser = argparse.ArgumentParser(
        prog="scripts/fetch", description="Make the weights in model_repository/ complete."
    )
    parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # An exit that clears up behind itself.
    try:
        fetch(ROOT)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (WeightsError, OSError) as error:
        print(f"scripts/fetch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
