"""One server for all the tests that only ask it things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.launched import Launched, launched


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A ready server; a test that disturbs it starts its own instead."""
    with launched(tmp_path_factory.mktemp("server") / "log") as server:
        server.wait_ready()
        yield server
