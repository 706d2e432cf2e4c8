"""The page's tabs for vision-language models, in Chromium: streams, layouts, and what is not let in."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server.browser import PATIENCE, opened

LAYOUT = [
    {"bbox": [28, 14, 308, 56], "category": "Title", "text": "# 年报 Annual report"},
    {"bbox": [28, 70, 308, 112], "category": "Text", "text": "Mass and energy: $E = mc^2$, and **bold**."},
    {"bbox": [28, 126, 308, 168], "category": "Table", "text": "<table><tr><td>$x_1$</td><td>12</td></tr></table>"},
    {"bbox": [28, 182, 308, 224], "category": "Formula", "text": "$$\\int_0^1 x^2 dx = \\frac{1}{3}$$"},
    {"bbox": [320, 14, 500, 224], "category": "Picture"},
]

HOSTILE = (
    '<script>window.stolen = 1</script><img src="https://example.org/x.png" onerror="window.stolen = 1">'
    '<a href="javascript:window.stolen=1">link</a><p style="position:fixed" onclick="window.stolen=1">said</p>'
    "<form action='https://example.org'><input name=q></form>$\\href{javascript:window.stolen=1}{x}$"
)

expect.set_options(timeout=PATIENCE)


@pytest.fixture
def page(browser: Browser, adapter: Any) -> Iterator[Page]:
    # The OCR models are not loaded here: the page says so, and the rest works.
    # What DOMPurify takes out of hostile text, the page's policy refuses before.
    with opened(browser, adapter.url, expected="status of 503|Content Security Policy") as page:
        yield page


@pytest.fixture
def drawn(page: Page) -> Callable[[], list[str]]:
    """All that the page has shown of what a model wrote, from the first to the last."""
    page.evaluate("""() => {
        window.drawn = [];
        const note = () => window.drawn.push(document.querySelector("[role=tabpanel]:not([hidden])").innerText);
        for (const panel of document.querySelectorAll("[role=tabpanel]")) {
            new MutationObserver(note).observe(panel, { subtree: true, childList: true, characterData: true });
        }
    }""")
    return lambda: list(page.evaluate("window.drawn"))


def choose(page: Page, picture: bytes) -> None:
    file: Any = {"name": "page.png", "mimeType": "image/png", "buffer": picture}
    page.locator("input[type=file]").first.set_input_files(file)
    expect(page.locator("#stage img")).to_be_visible()


def test_a_layout_comes_element_by_element_and_is_drawn_by_category(
    vlms: Any, page: Page, drawn: Callable[[], list[str]]
) -> None:
    text = json.dumps(LAYOUT, ensure_ascii=False)
    tokens = re.findall(r".{1,60}", text, re.DOTALL)
    choose(page, vlms.order(*tokens, delay=0.15).picture())
    page.get_by_role("tab", name="dots.ocr").click()
    page.get_by_role("button", name="Read this page").click()
    panel = page.locator("#panel-dots")
    expect(panel.locator(".summary")).to_contain_text("Done in")
    assert any("Annual report" in text and "Picture" not in text and "is writing" in text for text in drawn())
    expect(panel.locator(".element")).to_have_count(len(LAYOUT))
    expect(panel.get_by_role("heading", name="年报 Annual report")).to_be_visible()
    expect(panel.get_by_role("cell", name="12")).to_be_visible()
    expect(panel.locator(".katex")).to_have_count(3)
    expect(panel.locator("strong")).to_have_text("bold")
    expect(panel.locator("canvas")).to_have_count(1)
    expect(page.locator("#stage polygon")).to_have_count(len(LAYOUT))
    assert page.locator("#legend li").all_inner_texts() == [str(element["category"]) for element in LAYOUT]
    panel.locator(".element").nth(2).hover()
    expect(page.locator("#stage polygon").nth(2)).to_have_class(re.compile("is-pointed"))
    panel.get_by_label("Raw text").check()
    expect(panel.locator("pre")).to_contain_text('"category": "Title"')


def test_internvl_answers_in_markdown_while_it_writes(vlms: Any, page: Page, drawn: Callable[[], list[str]]) -> None:
    order = vlms.order("## 结果\n\n", "| a | b |\n|---|---|\n", "| 1 | 2 |\n", "\n$x^2$ ", "done", delay=0.3)
    choose(page, order.picture())
    page.get_by_role("tab", name="InternVL").click()
    panel = page.locator("#panel-internvl")
    panel.get_by_label("What to ask about this page").fill("What is it?")
    panel.get_by_role("button", name="Ask").click()
    expect(panel.locator(".written")).to_contain_text("done")
    expect(panel.get_by_role("heading", name="结果")).to_be_visible()
    assert any("结果" in text and "done" not in text for text in drawn())
    expect(panel.get_by_role("cell", name="2")).to_be_visible()
    expect(panel.locator(".katex")).to_have_count(1)
    # Of the stand-in's tokens: exp(-0.5).
    expect(panel.locator(".summary")).to_contain_text("confidence 60 %")
    assert order.seen()["prompt"] == "What is it?"


def test_what_a_model_writes_cannot_do_anything(vlms: Any, page: Page) -> None:
    choose(page, vlms.order(HOSTILE).picture())
    page.get_by_role("tab", name="InternVL").click()
    panel = page.locator("#panel-internvl")
    panel.get_by_role("button", name="Ask").click()
    expect(panel.get_by_text("said")).to_be_visible()
    expect(panel.locator(".summary")).to_contain_text("Done in")
    written = panel.locator(".written")
    assert written.locator("script, img, form, input, [onclick], [onerror], p[style], a[href^=javascript]").count() == 0
    panel.get_by_text("said").click()
    assert page.evaluate("window.stolen") is None


def test_a_model_that_fails_says_why(vlms: Any, page: Page) -> None:
    choose(page, vlms.order("begun", error="the model has burnt out").picture())
    page.get_by_role("tab", name="InternVL").click()
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#panel-internvl .summary")).to_have_class(re.compile("is-error"))
    expect(page.locator("#panel-internvl .summary")).not_to_be_empty()


def test_a_model_that_is_not_loaded_has_no_tab(vlms: Any, browser: Browser, adapter: Any) -> None:
    with vlms.without("dots_vllm"), opened(browser, adapter.url, expected="status of 503") as page:
        choose(page, vlms.order("x").picture())
        expect(page.get_by_role("tab", name="InternVL")).to_be_visible()
        expect(page.get_by_role("tab", name="dots.ocr")).to_be_hidden()
