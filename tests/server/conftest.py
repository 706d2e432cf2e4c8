"""One server for all the tests that only ask it things, and a browser to look at its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from scripts.launched import Launched, launched
from tests.server.browser import chromium


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A ready server; a test that disturbs it starts its own instead."""
    with launched(tmp_path_factory.mktemp("server") / "log") as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser
