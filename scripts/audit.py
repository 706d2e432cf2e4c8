"""Ask pip-audit about every lock file; see scripts/audit.

What cannot be looked up has not been found harmless: it is told apart, by words and by the exit status.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_HARMLESS, _VULNERABLE, _UNKNOWN = 0, 1, 3


def main(arguments: list[str]) -> int:
    """The exit status."""
    statuses = [_audit(lock, arguments) for lock in sorted((ROOT / "locks").glob("*.txt"))]
    # A vulnerability is worth more than what is not known.
    return _VULNERABLE if _VULNERABLE in statuses else max(statuses)


def findings(report: str) -> list[str]:
    """A line for each vulnerability in pip-audit's JSON, and for each package that it could not look up.

    Raises:
        ValueError: it is no report.
    """
    try:
        packages = json.loads(report)["dependencies"]
    except (KeyError, TypeError) as error:
        raise ValueError("no report of pip-audit's") from error
    found = []
    for package in packages:
        if "skip_reason" in package:
            found.append(f"{package['name']}: {package['skip_reason']}")
        for vulnerability in package.get("vulns", []):
            mended = ", ".join(vulnerability["fix_versions"]) or "no version"
            found.append(f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {mended}")
    return found


def _audit(lock: Path, arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--vulnerability-service=osv"]
    command += ["--progress-spinner=off", "--format=json", f"--requirement={lock}", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    name = lock.relative_to(ROOT)
    try:
        found = findings(ended.stdout)
    except ValueError:
        last = (ended.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        print(f"NOT AUDITED: {name}: the advisories cannot be reached: {last}", file=sys.stderr)
        return _UNKNOWN
    print("\n".join(f"{name}: {line}" for line in found or ["no known vulnerability"]), flush=True)
    return _VULNERABLE if found else _HARMLESS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
