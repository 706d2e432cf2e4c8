"""Chromium, as Debian packages it, and a page in it that may ask its own server alone and must not complain."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Milliseconds: under load, reading takes as long as it takes.
PATIENCE = 120_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Its driver occupies the thread's event loop until it is left."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail("the page is tested in Chromium, which is not installed: apt-get install chromium", pytrace=False)
    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    if os.geteuid() == 0:
        # Its sandbox wants another user than root.
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, expected: str = "$^", **context: Any) -> Iterator[Page]:
    """The page at `url`. In the end it must have asked no other host, and not have complained in its console of
    anything but what `expected`, a regular expression, finds."""
    settings: dict[str, Any] = {"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **context}
    with browser.new_context(**settings) as made:
        page = made.new_page()
        page.set_default_timeout(PATIENCE)
        complaints: list[str] = []
        hosts: set[str] = set()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(url)
        yield page
        assert [text for text in complaints if not re.search(expected, text)] == []
        # Those of blob: URLs have none.
        assert hosts <= {urlsplit(url).netloc, ""}
