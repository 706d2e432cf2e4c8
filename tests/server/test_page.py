"""The page at `/` in Chromium, on the real server: what a visitor brings, sees, and takes away."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pymupdf
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from adapter.settings import Settings
from scripts.launched import Launched
from tests import pages
from tests.pdfs import typeset
from tests.server.adapter.conftest import running_adapter
from tests.server.browser import PATIENCE, opened

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.png"

expect.set_options(timeout=PATIENCE)


@pytest.fixture
def page(browser: Browser, triton: Launched) -> Iterator[Page]:
    with opened(browser, triton.adapter_url) as page:
        yield page


def uploaded(triton: Launched, **form: str) -> dict[str, Any]:
    """What `/upload` reads off the example, in the order of reading, as the page asks for it."""
    files, data = {"file": EXAMPLE.read_bytes()}, {"reading_order": "true", **form}
    return dict(httpx.post(f"{triton.adapter_url}/upload", files=files, data=data, timeout=PATIENCE / 1000).json())


@pytest.fixture(scope="module")
def read_by_upload(triton: Launched) -> list[str]:
    """The example's lines."""
    return [line["text"] for line in uploaded(triton)["results"]]


def choose(page: Page, file: Path | bytes, name: str = "file.png", kind: str = "image/png") -> None:
    given: Any = file if isinstance(file, Path) else {"name": name, "mimeType": kind, "buffer": file}
    page.locator("input[type=file]").first.set_input_files(given)


def texts(page: Page) -> list[str]:
    return page.locator("#lines .line-text").all_inner_texts()


def lines(page: Page) -> Locator:
    return page.locator("#lines .line")


def quads(page: Page) -> Locator:
    return page.locator("#stage polygon")


def test_choosing_a_file_reads_it_and_the_text_is_there_to_be_seen(page: Page, read_by_upload: list[str]) -> None:
    expect(page.locator("input[type=file]").first).to_be_attached()
    choose(page, EXAMPLE)
    expect(page.locator("#status")).to_have_text(f"Read {len(read_by_upload)} lines on 1 page.")
    assert texts(page) == read_by_upload
    expect(page.get_by_text(read_by_upload[0], exact=True).first).to_be_visible()
    expect(quads(page)).to_have_count(len(read_by_upload))
    assert all(re.fullmatch(r"\d+ %", text) for text in page.locator("#lines .confidence").all_inner_texts())


def test_a_line_is_found_in_either_place_by_mouse_and_by_keyboard(page: Page) -> None:
    choose(page, EXAMPLE)
    pointed = re.compile("is-pointed")
    lines(page).nth(2).hover()
    expect(quads(page).nth(2)).to_have_class(pointed)
    expect(page.locator("#tip")).to_contain_text(texts(page)[2])
    quads(page).nth(4).hover()
    expect(lines(page).nth(4)).to_have_class(pointed)
    expect(lines(page).nth(2)).not_to_have_class(pointed)
    quads(page).nth(4).click()
    expect(lines(page).nth(4)).to_have_attribute("aria-selected", "true")
    # One tab stop each; the arrow keys walk within.
    lines(page).first.focus()
    page.keyboard.press("ArrowDown")
    expect(lines(page).nth(1)).to_be_focused()
    expect(quads(page).nth(1)).to_have_class(pointed)
    quads(page).first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(quads(page).nth(1)).to_be_focused()
    expect(lines(page).nth(1)).to_have_attribute("aria-selected", "true")
    assert page.locator("#lines [tabindex='0']").count() == 1


def test_quads_lie_over_the_text_that_they_hold(page: Page, triton: Launched) -> None:
    choose(page, EXAMPLE)
    expect(quads(page).first).to_be_visible()
    picture, first = page.locator("#stage img").bounding_box(), quads(page).first.bounding_box()
    assert picture and first
    answer = uploaded(triton)
    scale = picture["width"] / answer["image_size"]["width"]
    x, y = answer["results"][0]["bbox"][0]
    assert (first["x"] - picture["x"], first["y"] - picture["y"]) == pytest.approx((x * scale, y * scale), abs=3)


def test_a_pdf_is_paged_through_while_later_pages_are_read(page: Page) -> None:
    count = 6
    # Notes how many pages had been read whenever there was text to be seen.
    page.evaluate("""() => {
        window.read = new Set();
        const note = () => {
            const progress = document.querySelector("#progress");
            if (document.querySelector("#lines .line") && !progress.hidden) window.read.add(progress.value);
        };
        new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true });
    }""")
    document = typeset(*[[f"第 {number} 页 Page {number}", *pages.ENGLISH] for number in range(1, count + 1)])
    choose(page, document, "six.pdf", "application/pdf")
    expect(page.locator("#page-count")).to_have_text(f"of {count}")
    expect(lines(page).first).to_contain_text("Page 1")
    page.locator("#next").click()
    expect(lines(page).first).to_contain_text("Page 2")
    assert page.locator("#page-number").input_value() == "2"
    expect(page.locator("#stage img")).to_be_visible()
    page.locator("#page-number").fill(str(count))
    page.keyboard.press("Enter")
    expect(lines(page).first).to_contain_text(f"Page {count}")
    expect(page.locator("#status")).to_have_text(f"Read {4 * count} lines on {count} pages.")
    expect(page.locator("#progress")).to_be_hidden()
    assert any(0 < read < count for read in page.evaluate("[...window.read]"))
    page.locator("#stage").click()
    page.keyboard.press("PageUp")
    expect(lines(page).first).to_contain_text(f"Page {count - 1}")


def test_two_profiles_are_compared_side_by_side(page: Page, triton: Launched) -> None:
    choose(page, EXAMPLE)
    page.locator("#compare").select_option("PP-OCRv4_mobile")
    heads = page.locator(".comparison th")
    expect(heads.nth(1)).to_contain_text("PP-OCRv4_mobile")
    expect(heads.nth(0)).to_contain_text("PP-OCRv6_small")
    for side, profile in enumerate(("PP-OCRv6_small", "PP-OCRv4_mobile")):
        column = page.locator(f".comparison td:nth-child({side + 1}) .line-text").all_inner_texts()
        # Pairs stand in the order of the first.
        assert sorted(column) == sorted(line["text"] for line in uploaded(triton, profile=profile)["results"])
    page.locator(".comparison td.line").nth(1).hover()
    # The line, and its partner.
    expect(page.locator("#stage polygon.is-pointed")).to_have_count(2)
    expect(page.locator(".comparison .is-pointed")).to_have_count(2)


def test_the_options_change_what_is_read(page: Page, read_by_upload: list[str]) -> None:
    choose(page, EXAMPLE)
    expect(lines(page)).to_have_count(len(read_by_upload))
    page.locator("#more summary").click()
    page.locator("[name=box_thresh]").fill("0.9")
    expect(lines(page)).not_to_have_count(len(read_by_upload))
    page.get_by_role("button", name="Back to the defaults").click()
    expect(lines(page)).to_have_count(len(read_by_upload))


def test_a_page_on_its_side_is_set_upright_where_that_is_asked_for(page: Page) -> None:
    image = pages.draw((*pages.ENGLISH, *pages.CHINESE) * 4)
    turned = pages.encode(np.ascontiguousarray(np.rot90(image, -1)))
    choose(page, turned)
    expect(page.locator("#status")).to_contain_text("on 1 page.")
    lying = page.locator(".sheet").bounding_box()
    page.locator("#more summary").click()
    page.get_by_label("Set pages upright that lie on their side or head").check()
    assert lying
    page.wait_for_function(
        """wide => {
            const sheet = document.querySelector(".sheet").getBoundingClientRect();
            return (sheet.width > sheet.height) !== wide;
        }""",
        arg=lying["width"] > lying["height"],
    )
    expect(lines(page).first).to_contain_text(pages.ENGLISH[0])
    picture, first = page.locator("#stage img").bounding_box(), quads(page).first.bounding_box()
    assert picture and first
    # At the top, and level.
    assert first["y"] - picture["y"] < 0.1 * picture["height"]
    assert first["width"] > 3 * first["height"]


def test_text_json_and_a_searchable_pdf_are_taken_away(
    browser: Browser, triton: Launched, read_by_upload: list[str], tmp_path: Path
) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, triton.adapter_url, permissions=permissions) as page:
        choose(page, EXAMPLE)
        expect(lines(page)).to_have_count(len(read_by_upload))
        page.get_by_role("button", name="Copy").click()
        expect(page.locator("#status")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == uploaded(triton)["text"]
        with page.expect_download() as download:
            page.get_by_role("button", name="Download JSON").click()
        assert download.value.suggested_filename == "example.json"
        download.value.save_as(tmp_path / "file.json")
        (only,) = json.loads((tmp_path / "file.json").read_text(encoding="utf-8"))["pages"]
        assert [line["text"] for line in only["lines"]] == read_by_upload
        with page.expect_download() as download:
            page.get_by_role("button", name="Download a PDF that can be searched").click()
        assert download.value.suggested_filename == "example.searchable.pdf"
        download.value.save_as(tmp_path / "file.pdf")
    (sheet,) = pymupdf.open(tmp_path / "file.pdf").pages()
    assert sorted(sheet.get_text().split("\n")[:-1]) == sorted(read_by_upload)
    assert sheet.search_for("图书馆")


def test_a_file_may_be_dropped_pasted_or_photographed(page: Page, read_by_upload: list[str]) -> None:
    encoded = base64.b64encode(EXAMPLE.read_bytes()).decode()
    bring = """([encoded, kind]) => {
        const transfer = new DataTransfer();
        const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
        transfer.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
        const name = kind === "paste" ? "clipboardData" : "dataTransfer";
        const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
        document.body.dispatchEvent(new Kind(kind, { [name]: transfer, bubbles: true, cancelable: true }));
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(bring, [encoded, kind])
        expect(page.locator("#file-name")).to_have_text(f"{kind}.png")
        expect(page.locator("#status")).to_have_text(f"Read {len(read_by_upload)} lines on 1 page.")
    page.get_by_role("button", name="Take a photo").click()
    page.get_by_role("button", name="Take it").click()
    expect(page.locator("#file-name")).to_have_text("photo.jpg")
    expect(page.locator("#status")).to_contain_text("on 1 page.")


def test_a_picture_that_the_browser_cannot_show_is_shown_by_the_server(page: Page) -> None:
    picture = pages.encode(pages.draw(pages.CHINESE), ".tiff")
    choose(page, picture, "scan.tiff", "image/tiff")
    expect(lines(page)).to_have_count(len(pages.CHINESE))
    expect(page.locator("#stage img")).to_be_visible()
    assert page.locator("#stage img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


@pytest.mark.parametrize(
    ("file", "name", "words"),
    [
        (b"no picture at all", "notes.png", "The server cannot read this. file: not a picture of a known format"),
        (b"%PDF-1.7 broken", "broken.pdf", "The server cannot read this. file: "),
    ],
)
def test_what_the_server_refuses_is_said_in_words(
    browser: Browser, triton: Launched, file: bytes, name: str, words: str
) -> None:
    with opened(browser, triton.adapter_url, expected="status of 400") as page:
        choose(page, file, name, "application/pdf" if name.endswith("pdf") else "image/png")
        expect(page.get_by_role("alert")).to_contain_text(words)


def test_a_server_that_is_gone_is_said_in_words(browser: Browser, triton: Launched) -> None:
    with opened(browser, triton.adapter_url, expected="ERR_") as page:
        expect(page.locator("#profile option").first).to_be_attached()
        page.route("**/page/read", lambda route: route.abort())
        choose(page, EXAMPLE)
        expect(page.get_by_role("alert")).to_have_text("The server cannot be reached. Is it running?")


def test_it_speaks_the_visitors_language_and_the_one_that_is_chosen(browser: Browser, triton: Launched) -> None:
    with opened(browser, triton.adapter_url, locale="zh-CN") as page:
        expect(page.get_by_text("选择文件")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        choose(page, EXAMPLE)
        expect(page.locator("#summary")).to_contain_text("行")
        page.get_by_role("button", name="English").click()
        expect(page.locator("#summary")).to_contain_text("lines")
        page.reload()
        expect(page.get_by_text("Choose a file")).to_be_visible()


def test_it_is_as_light_or_dark_as_the_system_or_as_is_chosen(browser: Browser, triton: Launched) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    with opened(browser, triton.adapter_url, color_scheme="light") as page:
        light = page.evaluate(ground)
        page.get_by_role("button", name="Light or dark").click()
        dark = page.evaluate(ground)
        page.reload()
        assert page.evaluate(ground) == dark != light
    with opened(browser, triton.adapter_url, color_scheme="dark") as page:
        assert page.evaluate(ground) == dark


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)], ids=["desktop", "phone"])
def test_everything_can_be_reached_and_has_a_name(browser: Browser, triton: Launched, size: tuple[int, int]) -> None:
    with opened(browser, triton.adapter_url, viewport={"width": size[0], "height": size[1]}) as page:
        choose(page, EXAMPLE)
        expect(lines(page).first).to_be_visible()
        page.locator("#more summary").click()
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow == 0
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        for node in tree:
            is_focusable = any(
                entry["name"] == "focusable" and entry["value"]["value"] for entry in node.get("properties", [])
            )
            if is_focusable and node["role"]["value"] not in {"RootWebArea", "generic"}:
                assert node["name"]["value"], node


def test_keys_are_asked_for_where_the_server_wants_one(browser: Browser, triton: Launched) -> None:
    settings = Settings(triton_url=(triton.grpc_url,), triton_metrics_url=triton.metrics_url, api_keys=("secret",))
    with running_adapter(settings) as adapter, opened(browser, adapter.url, expected="status of 401") as page:
        page.get_by_label("API key", exact=True).fill("secret")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#profile option")).to_have_count(4)
        choose(page, EXAMPLE)
        expect(lines(page).first).to_be_visible()
