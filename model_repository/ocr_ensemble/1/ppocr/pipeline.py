"""Encoded picture → lines of text: the order of the steps, and what is asked of the networks."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from . import crops, detection, image, orientation, reading_order, recognition, upright
from .options import Options
from .profiles import Profile
from .words import Word, words

_ORIENTATION_BATCH = 32


class Networks(Protocol):
    """The networks of a profile, all of pixels UINT8 BGR [n, H, W, 3]."""

    def classify_page(self, image: crops.Image) -> Awaitable[npt.NDArray[np.float32]]:
        """[n, 224, 224, 3] → FP32 [n, 4], of a turn clockwise by 0, 1, 2 and 3 quarters."""

    def detect(self, image: crops.Image) -> Awaitable[npt.NDArray[np.float32]]:
        """[1, H, W, 3], sides multiples of 32 → probability map FP32 [1, H, W]."""

    def orient(self, image: crops.Image, width: npt.NDArray[np.int32]) -> Awaitable[npt.NDArray[np.float32]]:
        """[n, 48, 192, 3] and the columns INT32 [n, 1] that hold picture → FP32 [n, 2], of 0° and of 180°."""

    def recognize(
        self, image: crops.Image, width: npt.NDArray[np.int32]
    ) -> Awaitable[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]]:
        """[n, 48, W, 3] and the columns INT32 [n, 1] that hold picture → best class INT32, its probability [n, T]."""


@dataclass(frozen=True)
class PageLine:
    """A line of a page; `quad` FP32 [4, 2] in picture pixels, clockwise from the text's own top-left corner."""

    quad: detection.Quad
    box_score: float
    text: str = ""
    score: float = 0.0
    angle: int = 0
    words: list[Word] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """What was read off a picture; `width` and `height` are the picture's, its EXIF orientation applied, `times`
    seconds per stage. `angle` is by how many degrees its page is turned clockwise, 0 where that was not asked, and
    `text` what stands on it as a whole, empty where reading order was not asked for."""

    lines: list[PageLine]
    width: int
    height: int
    more_frames: bool
    angle: int
    text: str
    times: dict[str, float]


@dataclass(frozen=True)
class Pace:
    """How a page's lines go through the recogniser: `lines` at most in one call to it, of which so many `instances`
    work at the same time. More lines keep a wide network busy, and hold up a short page behind a long one."""

    lines: int
    instances: int

    @property
    def calls(self) -> int:
        """Under way at a time: one for each instance, and one that waits for the first of them to be free."""
        return self.instances + 1


@dataclass
class Stopwatch:
    times: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.times[name] = self.times.get(name, 0.0) + time.perf_counter() - start


async def read(data: bytes, options: Options, profile: Profile, networks: Networks, pace: Pace) -> Page:
    """Read an encoded picture. Raises RequestError for what is wrong with it, and whatever `networks` raises."""
    if options.rec_batch_size is not None:
        profile = replace(profile, recognition=replace(profile.recognition, batch=options.rec_batch_size))
    watch = Stopwatch()
    with watch.stage("decode"):
        picture = image.decode(data)
    page = upright.Upright(picture.pixels)
    if options.use_doc_orientation_classify:
        with watch.stage("page"):
            look = upright.classifier_input(picture.pixels)
            page = upright.upright(picture.pixels, upright.turns(await networks.classify_page(look)))
    height, width = page.pixels.shape[:2]
    if options.use_det:
        rules = _rules(profile.detection, options)
        frame, boxes = await _detect(page.pixels, rules, options.use_rec, networks, watch)
        with watch.stage("crops"):
            lines = [crops.cut(frame.pixels, box.quad) for box in boxes]
    else:
        frame = detection.Frame(page.pixels)
        lines = [crops.whole(page.pixels)]
        boxes = [detection.Box(lines[0].quad, 1.0)]
    stances = [orientation.Stance(False, False)] * len(lines)
    if options.use_cls:
        with watch.stage("orientation"):
            stances = await _stances(lines, networks)
        lines = [line.turned_over() if stance.turned else line for line, stance in zip(lines, stances)]
    texts: Sequence[recognition.Line | None] = [None] * len(lines)
    if options.use_rec:
        with watch.stage("recognition"):
            lines, texts = await _read_lines(lines, stances, profile, networks, pace)

    def to_picture(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return page.to_picture(frame.to_picture(points, width, height))

    least_score = profile.text_score if options.text_score is None else options.text_score
    kept = [place for place, text in enumerate(texts) if text is None or text.score >= least_score]
    whole_text = ""
    if options.reading_order:
        with watch.stage("reading_order"):
            layout = reading_order.layout(
                np.array([boxes[place].quad for place in kept]), [lines[place].quarter_turns for place in kept]
            )
            whole_text = layout.text([text.text if (text := texts[place]) else "" for place in kept])
            kept = [kept[place] for place in layout.order]
    found = [
        PageLine(
            quad=to_picture(box.quad),
            box_score=box.score,
            text=text.text if text else "",
            score=text.score if text else 0.0,
            angle=180 if crop.quarter_turns >= 2 else 0,
            words=words(text, crop, to_picture) if text and options.return_word_box else [],
        )
        for box, crop, text in ((boxes[place], lines[place], texts[place]) for place in kept)
    ]
    height, width = picture.pixels.shape[:2]
    return Page(found, width, height, picture.more_frames, 90 * page.turns, whole_text, watch.times)


def _rules(rules: detection.DetectionRules, options: Options) -> detection.DetectionRules:
    wishes: dict[str, Any] = {
        "thresh": options.det_thresh,
        "box_thresh": options.box_thresh,
        "unclip_ratio": options.unclip_ratio,
        "min_side": options.min_side,
        "max_enlargement": None if options.min_side is None else math.inf,
        "max_side": options.max_side,
    }
    return replace(rules, **{name: value for name, value in wishes.items() if value is not None})


async def _detect(
    picture: crops.Image, rules: detection.DetectionRules, to_be_read: bool, networks: Networks, watch: Stopwatch
) -> tuple[detection.Frame, list[detection.Box]]:
    if min(picture.shape[:2]) < detection.LEAST_SIDE:
        return detection.Frame(picture), []
    with watch.stage("resize"):
        frame = detection.frame(picture)
        frame_height, frame_width = frame.pixels.shape[:2]
        height, width = detection.input_size(frame_height, frame_width, rules)
        resized = cv2.resize(frame.pixels, (width, height))
    with watch.stage("detection"):
        (probability,) = await networks.detect(resized[None])
    with watch.stage("boxes"):
        boxes = detection.in_rows(detection.boxes_of_map(probability, frame_width, frame_height, rules))
    if not boxes and to_be_read and min(picture.shape[:2]) <= detection.LINE_SIDE:
        # A word or line cut out close fills the picture, and DB looks for text with a margin. Recognition decides:
        # what is no text scores low and is dropped.
        height, width = picture.shape[:2]
        return detection.Frame(picture), [detection.Box(crops.whole(picture).quad, float(probability.mean()))]
    return frame, boxes


async def _stances(lines: list[crops.Crop], networks: Networks) -> list[orientation.Stance]:
    probability = np.empty((len(lines), 2), np.float32)
    for first in range(0, len(lines), _ORIENTATION_BATCH):
        some = slice(first, first + _ORIENTATION_BATCH)
        probability[some] = await networks.orient(*orientation.classifier_input([line.image for line in lines[some]]))
    return orientation.stances(probability, [line.quarter_turns == 1 for line in lines])


async def _recognize(
    lines: list[crops.Crop], profile: Profile, networks: Networks, pace: Pace
) -> list[recognition.Line]:
    """The text of each line, in order. A batch is made while those before it are being read."""
    batches = recognition.batches([line.image for line in lines], profile.recognition, pace.lines, pace.instances)
    read: list[tuple[recognition.Window, recognition.Line]] = []

    async def read_batches() -> None:
        for batch in batches:
            read.extend(batch.lines(*await networks.recognize(batch.image, batch.width), profile.characters))

    await asyncio.gather(*(read_batches() for _ in range(pace.calls)))
    read.sort(key=lambda part: (part[0].line, part[0].start))
    parts: list[list[recognition.Line]] = [[] for _ in lines]
    for window, line in read:
        parts[window.line].append(line)
    return [recognition.joined(of_line) for of_line in parts]


async def _read_lines(
    lines: list[crops.Crop], stances: list[orientation.Stance], profile: Profile, networks: Networks, pace: Pace
) -> tuple[list[crops.Crop], list[recognition.Line]]:
    """The lines as they were read, and what was read. Contested ones are read the other way up, too, and the better
    reading is kept. They are few: a call of their own leaves the batches, and so the texts, of the others alone."""
    texts = await _recognize(lines, profile, networks, pace)
    contested = [place for place, stance in enumerate(stances) if stance.contested]
    turned = [lines[place].turned_over() for place in contested]
    lines = list(lines)
    for place, line, text in zip(contested, turned, await _recognize(turned, profile, networks, pace)):
        if text.score > texts[place].score:
            lines[place], texts[place] = line, text
    return lines, texts
