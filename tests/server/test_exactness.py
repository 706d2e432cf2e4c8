"""PP-OCRv4_mobile beside RapidOCR 1.4.4, which it reproduces, on the same pictures and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import tritonclient.grpc
from rapidocr_onnxruntime import RapidOCR

from scripts.launched import Launched
from tests import pages
from tests.server.ensemble import read


@pytest.fixture(scope="module")
def peer() -> RapidOCR:
    return RapidOCR()


@pytest.fixture(scope="module")
def client(triton: Launched) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as made:
        yield made


def busy_page() -> np.ndarray:
    """Two columns of lines of many lengths, at a slight slant."""
    texts = (*pages.CHINESE, *pages.ENGLISH, *pages.MIXED)
    lines = [f"{times}{place} {text * times}" for times in (1, 2) for place, text in enumerate(texts)]
    left, right = pages.draw(lines, 20), pages.draw([f"R{line}" for line in lines[::-1]], 17)
    height = max(len(left), len(right))
    columns = [cv2.copyMakeBorder(c, 0, height - len(c), 0, 0, cv2.BORDER_REPLICATE) for c in (left, right)]
    page = np.concatenate(columns, axis=1)
    turn = cv2.getRotationMatrix2D((page.shape[1] / 2, height / 2), 1.5, 1)
    return cv2.warpAffine(page, turn, (page.shape[1], height), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def photograph() -> np.ndarray:
    """Grey, shaded and noisy."""
    image = pages.draw(pages.MIXED, 40).astype(np.float32)
    shade = np.linspace(0.5, 0.9, image.shape[1])[None, :, None]
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return np.clip(image * shade + 20 + noise, 0, 255).astype(np.uint8)


PICTURES = {
    "page": pages.draw([*pages.CHINESE, *pages.ENGLISH, *pages.MIXED]),
    "two slanted columns": busy_page(),
    "photograph": photograph(),
    "banner": pages.draw(["天地玄黄 Heaven and earth are dark and yellow 宇宙洪荒 1234567890"], 24, 8),
    "thin strip": pages.draw(["合计 Total 128.50"], 16)[24:50],
    "receipt": cv2.resize(
        pages.draw([f"{n} {text}" for n, text in enumerate(pages.MIXED * 8)], 18), None, fx=0.9, fy=1.1
    ),
    "upside down": cv2.rotate(pages.draw(pages.CHINESE), cv2.ROTATE_180),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_texts_are_the_peers_and_corners_within_two_pixels(client, peer, picture):
    image = PICTURES[picture]
    expected, _ = peer(image)
    reading = read(client, pages.encode(image), profile="PP-OCRv4_mobile")
    # Lines that the peer turns on their heads by mistake, and so drops, are read here: its lines are among ours.
    ours = {text: place for place, text in enumerate(reading.texts)}
    assert {text for _, text, _ in expected} <= set(ours)
    assert len(reading.texts) <= len(expected) * 1.1
    for quad, text, score in expected:
        assert np.abs(reading.boxes[ours[text]] - np.array(quad)).max() <= 2
        assert reading.scores[ours[text]] == pytest.approx(score, abs=0.01)


def test_word_boxes_cover_what_the_peers_cover(client, peer):
    image = PICTURES["page"]
    expected, _ = peer(image, return_word_box=True)
    reading = read(client, pages.encode(image), profile="PP-OCRv4_mobile", return_word_box=True)
    for words, (_, text, _, boxes, characters, _) in zip(reading.words, expected, strict=True):
        ours = [character for word in words for character in word["characters"]]
        theirs = [(c, np.mean(box, axis=0)) for c, box in zip(characters, boxes, strict=True) if c != " "]
        assert [character["text"] for character in ours] == [c for c, _ in theirs], text
        height = np.ptp([point[1] for point in words[0]["quad"]])
        for character, (_, centre) in zip(ours, theirs, strict=True):
            assert np.abs(np.mean(character["quad"], axis=0) - centre).max() < height / 2
