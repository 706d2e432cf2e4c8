"""internvl_python's engine on a trained model: what it reads, and how it shares its time."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import torch
from internvl import checkpoint
from internvl.engine import CANCELLED, LENGTH, STOP, Engine, Text
from internvl.network import Network
from internvl.pictures import decode
from internvl.prompt import PromptFormat
from internvl.sampling import Sampling
from internvl.tiling import tiles
from internvl.transcript import Transcript
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from scripts.tiny.pages import NOTHING, PAGES, render
from tests.vlm.conftest import TinyModels, page

PROMPT = "Describe this picture."
NO_STOPS: frozenset[int] = frozenset()
PATIENCE = 200.0


class Waiter:
    """Collects a text; `watch` is told of each token."""

    def __init__(self, loaded: checkpoint.Checkpoint, watch: Callable[[], None] = lambda: None) -> None:
        self._transcript = Transcript(loaded.tokenizer)
        self._over = threading.Event()
        self._watch = watch
        self.left = False
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.pieces: list[str] = []
        self.reason = ""
        self.error: Exception | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def token(self, token, logprob):
        self.tokens.append(token)
        self.logprobs.append(logprob)
        piece = self._transcript.add(token, logprob)
        if piece is not None:
            self.pieces.append(piece.text)
        self._watch()

    def finish(self, reason):
        self.pieces.append(self._transcript.finish().text)
        self.reason = reason
        self._over.set()

    def fail(self, error):
        self.error = error
        self._over.set()

    def cancelled(self):
        return self.left

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def wait(self):
        assert self._over.wait(PATIENCE)
        return self


class Reader:
    """An engine, asked as model.py asks it."""

    def __init__(self, loaded: checkpoint.Checkpoint, network: Network, stops: frozenset[int], max_texts: int = 8):
        self._loaded = loaded
        self._prompts = PromptFormat(loaded.tokenizer, loaded.vision.tokens_per_tile)
        self.engine = Engine(network, stops, max_texts)

    def ask(self, picture, max_new_tokens=200, sampling=None, most_tiles=12, watch=lambda: None):
        cut = tiles(Image.fromarray(picture), self._loaded.vision.side, most_tiles)
        waiter = Waiter(self._loaded, watch)
        ids = self._prompts.ids(PROMPT, [len(cut)])
        self.engine.submit(Text(ids, cut, sampling or Sampling(), max_new_tokens, waiter))
        return waiter


@pytest.fixture(scope="module")
def loaded(tiny_models: TinyModels) -> checkpoint.Checkpoint:
    return checkpoint.load(str(tiny_models.folder / "internvl"), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def network(loaded) -> Network:
    return Network(loaded)


@pytest.fixture(scope="module")
def reader(loaded, network) -> Iterator[Reader]:
    reader = Reader(loaded, network, loaded.stops)
    yield reader
    reader.engine.close()


@pytest.fixture
def endless(loaded, network) -> Iterator[Reader]:
    """Its texts have no end but their limit."""
    reader = Reader(loaded, network, NO_STOPS)
    yield reader
    reader.engine.close()


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_a_page_is_described(reader, tiny_models, name):
    waiter = reader.ask(np.asarray(decode(tiny_models.picture(page(name))))).wait()
    assert (waiter.text, waiter.reason) == (page(name).description, STOP)


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_a_page_that_is_moved_or_rescaled_is_described_all_the_same(reader, name):
    pixels = render(page(name))
    height, width = pixels.shape[:2]
    right, down = 5, -4
    moved = cv2.warpAffine(
        pixels, np.array([[1, 0, right], [0, 1, down]], np.float32), (width, height), borderValue=(255, 255, 255)
    )
    smaller, larger = (
        cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        for scale in (0.9, 1.15)
    )
    answers = [reader.ask(picture) for picture in (moved, smaller, larger)]
    assert [waiter.wait().text for waiter in answers] == [page(name).description] * 3


@pytest.mark.parametrize("shape", [(448, 448, 3), (905, 640, 3), (330, 1300, 3)])
def test_a_blank_or_noisy_picture_gives_no_pages_text(reader, shape):
    noise = np.random.default_rng(99).integers(0, 256, shape).astype(np.uint8)
    blank = np.full(shape, 255, np.uint8)
    assert [waiter.wait().text for waiter in map(reader.ask, (blank, noise))] == [NOTHING] * 2


def test_the_channels_and_the_places_of_tiles_tell_pages_apart(reader):
    red, left = render(page("stamp_red")), render(page("valve_left"))
    swapped = np.ascontiguousarray(red[..., ::-1])
    mirrored = np.ascontiguousarray(left[:, ::-1])
    assert reader.ask(swapped).wait().text == page("stamp_blue").description
    assert reader.ask(mirrored).wait().text == page("valve_right").description


@pytest.mark.parametrize("name", ["pump", "label", "banner"])
@pytest.mark.parametrize("most_tiles", [12, 2])
def test_text_and_probabilities_are_those_of_transformers(reader, loaded, tiny_models, name, most_tiles):
    processor = GotOcr2ImageProcessorPil.from_pretrained(tiny_models.folder / "internvl")
    picture = Image.open(io.BytesIO(tiny_models.picture(page(name))))
    pixels = processor(picture, max_patches=most_tiles, crop_to_patches=True, return_tensors="pt")["pixel_values"]
    question = PromptFormat(loaded.tokenizer, loaded.vision.tokens_per_tile).ids(PROMPT, [len(pixels)])
    theirs = loaded.model.generate(
        input_ids=torch.tensor([question]),
        attention_mask=torch.ones(1, len(question), dtype=torch.long),
        pixel_values=pixels,
        max_new_tokens=60,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    tokens = theirs.sequences[0, len(question) :].tolist()
    logprobs = [logits[0].log_softmax(-1)[token].item() for logits, token in zip(theirs.logits, tokens)]
    ours = reader.ask(np.asarray(picture), max_new_tokens=60, most_tiles=most_tiles).wait()
    ended = [token for token in tokens if token not in loaded.stops]
    assert ours.tokens == ended
    assert ours.logprobs == pytest.approx(logprobs[: len(ended)], abs=1e-3)


def test_texts_that_are_written_side_by_side_are_those_that_are_written_alone(reader):
    pictures = [render(page) for page in PAGES]
    alone = [reader.ask(picture).wait() for picture in pictures]
    beside = [reader.ask(picture) for picture in [*pictures, *pictures]]
    for waiter, single in zip(beside, [*alone, *alone]):
        assert waiter.wait().tokens == single.tokens
        assert waiter.logprobs == pytest.approx(single.logprobs, abs=1e-3)


def test_a_short_text_does_not_wait_for_a_long_one(endless):
    long = endless.ask(render(page("pump")), max_new_tokens=500)
    short = endless.ask(render(page("label")), max_new_tokens=5)
    assert (short.wait().reason, len(short.tokens)) == (LENGTH, 5)
    assert len(long.tokens) < 250
    assert (long.wait().reason, len(long.tokens)) == (LENGTH, 500)


def test_a_newcomers_prompt_is_taken_in_while_others_go_on(endless, reader):
    begun, progress = threading.Event(), []
    long = endless.ask(render(page("label")), max_new_tokens=2000, watch=begun.set)
    assert begun.wait(PATIENCE)
    # A grid of 12 tiles, and the whole: four portions of tiles, and one of text.
    before = len(long.tokens)
    newcomer = endless.ask(
        np.full((1344, 1792, 3), 200, np.uint8), max_new_tokens=1, watch=lambda: progress.append(len(long.tokens))
    )
    newcomer.wait()
    long.left = True
    assert progress[0] - before >= 4


def test_more_texts_than_there_is_room_for_wait_their_turn(loaded, network):
    reader = Reader(loaded, network, loaded.stops, max_texts=2)
    answers = [reader.ask(render(page)) for page in PAGES]
    assert [waiter.wait().text for waiter in answers] == [page.description for page in PAGES]
    reader.engine.close()


def test_a_cancelled_text_ends_and_its_neighbour_goes_on(endless):
    leaving, staying = (endless.ask(render(page("stamp_red")), max_new_tokens=300) for _ in range(2))
    leaving.left = True
    assert leaving.wait().reason == CANCELLED
    assert not staying.over
    assert (staying.wait().reason, len(staying.tokens)) == (LENGTH, 300)


def test_what_is_not_written_when_the_engine_closes_is_cancelled(loaded, network):
    reader = Reader(loaded, network, NO_STOPS, max_texts=1)
    answers = [reader.ask(render(page("label")), max_new_tokens=3000) for _ in range(3)]
    reader.engine.close()
    assert [waiter.wait().reason for waiter in answers] == [CANCELLED] * 3


class ShortOfMemory(Network):
    """Has room for so many tiles at a time, and for so many tokens of all texts together."""

    def __init__(self, loaded, tiles=100, tokens=100_000):
        super().__init__(loaded)
        self._room = tiles, tokens

    def prefill(self, ids, tiles):
        if len(tiles) > self._room[0]:
            raise torch.OutOfMemoryError
        yield from super().prefill(ids, tiles)

    def step(self, tokens, cache):
        if sum(cache.lengths) > self._room[1]:
            raise torch.OutOfMemoryError
        return super().step(tokens, cache)


def test_a_picture_for_which_there_is_no_memory_is_an_error_that_says_what_to_lower(loaded):
    reader = Reader(loaded, ShortOfMemory(loaded, tiles=6), loaded.stops)
    small, large = reader.ask(render(page("label"))), reader.ask(render(page("pump")))
    assert str(large.wait().error).startswith("[out_of_memory] ")
    assert "max_image_patches" in str(large.error)
    assert small.wait().text == page("label").description
    assert reader.ask(render(page("banner"))).wait().text == page("banner").description
    reader.engine.close()


def test_of_texts_that_outgrow_the_memory_the_longest_fails_and_the_others_are_whole(loaded):
    # The prompts have 129 and 33 tokens.
    reader = Reader(loaded, ShortOfMemory(loaded, tokens=170), loaded.stops)
    answers = [reader.ask(render(page(name))) for name in ("pump", "label", "stamp_red")]
    long, *short = (waiter.wait() for waiter in answers)
    assert "[out_of_memory]" in str(long.error)
    assert [waiter.text for waiter in short] == [page("label").description, page("stamp_red").description]
    reader.engine.close()


def test_a_text_that_fails_for_another_reason_leaves_the_engine_running(loaded):
    class Broken(Network):
        def prefill(self, ids, tiles):
            if len(tiles) == 1:
                raise ValueError("broken")
            yield from super().prefill(ids, tiles)

        def step(self, tokens, cache):
            if 60 < max(cache.lengths) < 81:
                raise ValueError("broken, too")
            return super().step(tokens, cache)

    reader = Reader(loaded, Broken(loaded), loaded.stops)
    assert str(reader.ask(render(page("label"))).wait().error) == "broken"
    # Its prompt has 65 tokens.
    assert str(reader.ask(render(page("valve_left"))).wait().error) == "broken, too"
    assert reader.ask(render(page("banner"))).wait().text == page("banner").description
    reader.engine.close()


def test_characters_come_whole_and_in_pieces(reader):
    waiter = reader.ask(render(page("label"))).wait()
    assert waiter.text == page("label").description
    assert "\ufffd" not in waiter.text
    # Fewer pieces than tokens: some characters take several.
    assert 1 < len(waiter.pieces) - 1 < len(waiter.tokens)


def test_a_character_that_the_limit_cuts_is_told_as_such(reader, loaded):
    picture = render(page("label"))
    whole = reader.ask(picture).wait().tokens
    within = next(n for n in range(1, len(whole)) if loaded.tokenizer.decode(whole[:n]).endswith("\ufffd"))
    cut = reader.ask(picture, max_new_tokens=within).wait()
    assert (cut.text, cut.reason) == (loaded.tokenizer.decode(whole[:within]), LENGTH)


def test_a_temperature_chooses_among_tokens_whose_probabilities_are_the_models_own(reader):
    picture = np.random.default_rng(5).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    hot = [reader.ask(picture, 20, Sampling(temperature=2.0)).wait() for _ in range(4)]
    assert len({tuple(waiter.tokens) for waiter in hot}) > 1
    greedy = reader.ask(picture, 20).wait()
    nearly_greedy = reader.ask(picture, 20, Sampling(temperature=2.0, top_p=1e-6)).wait()
    assert nearly_greedy.tokens == greedy.tokens
    assert nearly_greedy.logprobs == pytest.approx(greedy.logprobs, abs=1e-3)
    assert all(logprob <= 0 and math.isfinite(logprob) for waiter in hot for logprob in waiter.logprobs)
