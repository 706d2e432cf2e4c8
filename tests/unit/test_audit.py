"""What scripts/audit makes of pip-audit's report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.audit import findings


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_nothing_is_found_where_nothing_is_known() -> None:
    assert findings(report({"name": "pillow", "version": "13.0.0", "vulns": []})) == []


def test_a_vulnerability_is_told_with_the_version_that_mends_it() -> None:
    known = {"id": "PYSEC-2099-1", "fix_versions": ["99.0", "98.1"], "aliases": [], "description": "…"}
    assert findings(report({"name": "pillow", "version": "13.0.0", "vulns": [known]})) == [
        "pillow 13.0.0: PYSEC-2099-1, mended in 99.0, 98.1"
    ]


def test_a_package_that_could_not_be_looked_up_has_not_passed() -> None:
    assert findings(report({"name": "pillow", "skip_reason": "not found on PyPI"})) == ["pillow: not found on PyPI"]


@pytest.mark.parametrize("report", ["", "requests.exceptions.ConnectionError: …", "[]", "{}"])
def test_what_is_no_report_is_not_taken_for_an_empty_one(report: str) -> None:
    with pytest.raises(ValueError):
        findings(report)
