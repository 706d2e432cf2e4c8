from __future__ import annotations

from xml.etree import ElementTree

from scripts.benchmark import plot
from scripts.benchmark.contest import Contestant
from scripts.benchmark.samples import Sample, Series

OURS = Contestant("this server", "PP-OCRv4_mobile", "bf16", "HTTP, 8 clients")
PEER = Contestant("peer <1.0>", "PP-OCRv4_mobile", "f32", "HTTP, 8 clients")
WARM = Contestant("library", "PP-OCRv4_mobile", "f32", "in process, one caller, warm")
SPACE = "{http://www.w3.org/2000/svg}"


def test_a_bar_is_as_long_as_its_contestant_is_fast_within_its_panel() -> None:
    fast, slow = Series({0: Sample(4, 1), 1: Sample(4, 1)}), Series({0: Sample(1, 1), 1: Sample(1, 1)})
    image = ElementTree.fromstring(plot.svg({PEER: slow, OURS: fast, WARM: slow}))  # noqa: S314 - our own

    texts = [element.text or "" for element in image.iter(f"{SPACE}text")]
    bars = [float(element.attrib["width"]) for element in image.iter(f"{SPACE}rect")][1:]
    assert [text for text in texts if text.endswith("pages/s")] == [
        "PP-OCRv4_mobile: 8 clients, pages/s",
        "PP-OCRv4_mobile: one caller, warm, pages/s",
    ]
    assert texts.index("this server, bf16 (HTTP)") < texts.index("peer <1.0>, f32 (HTTP)")
    assert bars[0] == 4 * bars[1] == bars[2]
