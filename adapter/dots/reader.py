"""Reading a page with dots.ocr: from an encoded picture to the text of an answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from adapter.decoding import Decoder
from adapter.dots.geometry import Scale, Size, smart_resize
from adapter.dots.layout import LayoutText
from adapter.dots.prompts import PromptType, prompt
from adapter.errors import InvalidRequestError
from adapter.repetition import PlainText
from adapter.vlm import Sampling, VisionLanguageModel

_BoxOfNumbers = tuple[float, float, float, float]


@dataclass(frozen=True)
class Task:
    """What is to be read off a picture, and how."""

    kind: PromptType
    sampling: Sampling
    box: _BoxOfNumbers | None = None
    """x1, y1, x2, y2 in pixels of the upright picture: where, for grounding."""


@dataclass(frozen=True)
class Piece:
    """A piece of the answer's text. The last one is empty or not, and tells what became of the whole."""

    text: str
    repaired: bool = False
    """Whether the answer is not what the model wrote: a broken layout was mended, or a loop left out."""
    truncated: bool = False
    """Whether the answer ends because the limit of tokens was reached."""
    more_frames: bool = False
    """Whether the file holds further pictures, of which only the first was read."""


class DotsReader:
    """Reads pages with a dots.ocr that Triton runs."""

    def __init__(self, model: VisionLanguageModel, decoder: Decoder) -> None:
        self._model = model
        self._decoder = decoder

    async def loaded(self, timeout: float) -> bool:
        """Whether Triton has the model loaded; answers within `timeout` seconds."""
        return await self._model.loaded(timeout)

    async def read(self, picture: bytes, task: Task) -> AsyncGenerator[Piece, None]:
        """The answer about an encoded picture, piece by piece, at least one; boxes are in the picture's own pixels.

        The pieces of a layout are whole elements, and all of them joined are one JSON array. A piece comes with each
        step of the model, if need be an empty one. To close the generator is to cancel the model's work. Raises, before
        the first piece, what is wrong with the picture or the box, `BusyError` when the queue is full, and what
        `VisionLanguageModel.generate` raises.
        """
        shown = await self._decoder.show(picture, "image", _fed_size)
        original = Size(shown.width, shown.height)
        scale = Scale(original, smart_resize(original))
        question = prompt(task.kind, _fed_box(task.box, scale) if task.box else None)
        answer = LayoutText(scale) if task.kind.answers_layout else PlainText()
        truncated = False
        async with (
            self._model.admit() as admission,
            aclosing(self._model.generate(admission, question, shown.encoded, task.sampling)) as chunks,
        ):
            async for chunk in chunks:
                truncated |= chunk.truncated
                yield Piece(answer.feed(chunk.text))
                if answer.looping:
                    break
        rest = answer.finish()
        yield Piece(rest, answer.repaired, truncated, shown.more_frames)


def _fed_size(width: int, height: int) -> tuple[int, int]:
    size = smart_resize(Size(width, height))
    return size.width, size.height


def _fed_box(box: _BoxOfNumbers, scale: Scale) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    size = scale.original
    if not (0 <= x1 < x2 <= size.width and 0 <= y1 < y2 <= size.height):
        raise InvalidRequestError(
            f"bbox: must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2 within the picture's {size.width}x{size.height} "
            "pixels"
        )
    return scale.to_fed(box)
