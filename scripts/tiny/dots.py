"""A tiny dots.ocr in the published model's layout, trained until it knows the pages.

Everything is of the published model's make (architecture, names of weights, tokenizer, prompts, picture processor,
files), and small. The vision tower's trunk stays as random as it was made, so that it need see each picture only once;
what stands behind it learns.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers, trainers
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer, get_cosine_schedule_with_warmup
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from scripts.tiny.dots_vision import VisionTower, make_smooth
from scripts.tiny.pages import PAGES, Box, Image, Page, render

_ROOT = Path(__file__).resolve().parents[2]
_QUESTIONS: dict[str, str] = json.loads((_ROOT / "adapter" / "dots" / "prompts.json").read_text("utf-8"))["prompts"]
_LAYOUT, _BOXES, _TEXT, _WITHIN = (
    "prompt_layout_all_en",
    "prompt_layout_only_en",
    "prompt_ocr",
    "prompt_grounding_ocr",
)

# The names of the tokens, the chat template and the picture processor's constants of rednote-hilab/dots.ocr.
_END, _PAD, _PICTURE = "<|endofassistant|>", "<|endoftext|>", "<|imgpad|>"
_SPECIAL = (
    _PAD,
    "<|img|>",
    _PICTURE,
    "<|endofimg|>",
    "<|video_pad|>",
    "<|system|>",
    "<|endofsystem|>",
    "<|user|>",
    "<|endofuser|>",
    "<|assistant|>",
    _END,
)
_TEMPLATE = (
    "{%- for message in messages %}{%- if message.role == 'user' %}{{- '<|user|>' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<|img|><|imgpad|><|endofimg|>' }}{%- else %}{{- part.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}{{- '<|endofuser|>' }}"
    "{%- elif message.role == 'assistant' %}{{- '<|assistant|>' + message.content + '<|endofassistant|>' }}"
    "{%- endif %}{%- endfor %}{{- '<|assistant|>' }}"
)
_PROCESSOR = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "Qwen2VLImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "max_pixels": 11289600,
    "merge_size": 2,
    "min_pixels": 3136,
    "patch_size": 14,
    "processor_class": "Qwen2VLProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "temporal_patch_size": 1,
}
_VISION: dict[str, Any] = {
    "embed_dim": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 1,
    "rms_norm_eps": 1e-5,
    "use_bias": False,
    "post_norm": True,
}
_HIDDEN = 128
_WINDOW = 32768
# Enough that the words of the prompts are tokens; the answers' rare characters stay bytes.
_MERGES = 500

_VARIANTS = {1.0: 4, 0.5: 10}
"""By the size at which each page is known, in terms of its own: how many pictures, moved and blurred, show it."""
_SCALES = (0.5, 1.0)  # step by step in turn
_STRANGERS = 60  # pictures that are none of the pages
_PAGES_PER_STEP = 5
_STRANGERS_PER_STEP = 2
_ROUNDS = ((550, 3e-3), *((150, 1e-3),) * 4)
"""Steps and the learning rate that they begin with. A further round is gone through only where something is not known
yet: what the first leaves over differs between processors, whose sums differ in their last digits."""
_SURE = 0.6  # the least probability of a token that is known


@dataclass(frozen=True)
class _Size:
    width: int
    height: int


@dataclass(frozen=True)
class _Task:
    """A prompt type, the box that goes with it for grounding (pixels of the fed picture), and what is to be said."""

    kind: str
    box: Box | None
    answer: str


@dataclass(frozen=True)
class _Example:
    """A picture, and what may be asked about it; `seen`: what the merger's MLP takes, FP32 [tokens, 4 * embed_dim]."""

    seen: torch.Tensor
    tasks: tuple[_Task, ...]


class _Network(torch.nn.Module):
    """What learns, and what is saved."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.vision_tower = VisionTower(
            embed_dim=_VISION["embed_dim"],
            heads=_VISION["num_attention_heads"],
            layers=_VISION["num_hidden_layers"],
            intermediate=_VISION["intermediate_size"],
            out=_HIDDEN,
            patch=_VISION["patch_size"],
            eps=_VISION["rms_norm_eps"],
        )
        make_smooth(self.vision_tower)
        self.language_model = Qwen2ForCausalLM(config)

    def published(self) -> dict[str, torch.Tensor]:
        """The weights by their published names."""
        tower = {f"vision_tower.{name}": weight for name, weight in self.vision_tower.state_dict().items()}
        return {name: weight.contiguous() for name, weight in {**tower, **self.language_model.state_dict()}.items()}


def build(folder: Path, say: Callable[[str], None]) -> list[dict[str, object]]:
    """Train the model and write it to `folder`. What it answers about each page, as rows of expected.jsonl.

    Raises `RuntimeError` when the model has not learnt the pages.
    """
    # Its matrices are so small that a second thread gains little, and beside other work loses much.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tokenizer = _tokenizer()
    network = _Network(_config(tokenizer))
    say("dots: looking at the pages")
    known = {scale: [[*_examples(network, page, scale, rng)] for page in PAGES] for scale in _VARIANTS}
    strangers = [_stranger(network, number, rng) for number in range(_STRANGERS)]
    _train(network, tokenizer, known, strangers, say)
    _save(network, tokenizer, folder)
    return [row for page in PAGES for row in _rows(page)]


def _rows(page: Page) -> Iterator[dict[str, object]]:
    """What the documented API answers: boxes are in pixels of the page, and `box` is asked for in such."""
    own = _Size(page.width, page.height)
    fed = _fed(own)
    for task in _tasks(page, fed, lambda box: _between(_between(box, own, fed), fed, own)):
        boxes = [element.box for element in page.elements if element.text] if task.kind == _WITHIN else [None]
        for box in boxes:
            if box is None or _between(box, own, fed) == task.box:
                yield {
                    "model": "dots",
                    "page": f"pages/{page.name}.png",
                    "prompt": task.kind,
                    "box": box,
                    "answer": task.answer,
                }


def _tasks(page: Page, fed: _Size, told: Callable[[Box], Box]) -> Iterator[_Task]:
    """All that may be asked about a page. `told` makes of a box of the page the one that a layout tells."""
    layout = [{"bbox": list(told(each.box)), "category": each.category} for each in page.elements]
    texts = [{**told_of, **({"text": each.text} if each.text else {})} for told_of, each in zip(layout, page.elements)]
    body = [each.text for each in page.elements if each.text and each.category not in ("Page-header", "Page-footer")]
    yield _Task(_LAYOUT, None, json.dumps(texts, ensure_ascii=False))
    yield _Task(_BOXES, None, json.dumps(layout))
    yield _Task(_TEXT, None, "\n\n".join(body))
    for each in page.elements:
        if each.text:
            yield _Task(_WITHIN, _between(each.box, _Size(page.width, page.height), fed), each.text)


def _fed(size: _Size) -> _Size:
    """The size at which the model is shown a picture: the processor's own word."""
    blank = np.zeros((size.height, size.width, 3), np.uint8)
    _, rows, columns = _processor()(blank, return_tensors="np")["image_grid_thw"][0]
    return _Size(int(columns) * _VISION["patch_size"], int(rows) * _VISION["patch_size"])


def _between(box: Box, source: _Size, target: _Size) -> Box:
    left, right = (round(x * target.width / source.width) for x in box[::2])
    top, bottom = (round(y * target.height / source.height) for y in box[1::2])
    return left, top, right, bottom


def _examples(network: _Network, page: Page, scale: float, rng: np.random.Generator) -> Iterator[_Example]:
    pixels = cv2.resize(render(page), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    own, fed = _Size(page.width, page.height), _fed(_Size(pixels.shape[1], pixels.shape[0]))
    tasks = tuple(_tasks(page, fed, lambda box: _between(box, own, fed)))
    for number in range(_VARIANTS[scale]):
        yield _Example(_seen(network, _varied(pixels, rng) if number else pixels), tasks)


def _varied(pixels: Image, rng: np.random.Generator) -> Image:
    """Moved by some pixels, and less sharp."""
    height, width = pixels.shape[:2]
    right, down = rng.uniform(-6, 6, 2)
    moved = cv2.warpAffine(
        pixels, np.array([[1, 0, right], [0, 1, down]], np.float32), (width, height), borderValue=(255, 255, 255)
    )
    return cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.2, 1.0))


def _stranger(network: _Network, number: int, rng: np.random.Generator) -> _Example:
    """Blank, one-coloured, or noise, of any shape: nothing is on it, wherever one asks."""
    height, width = (int(side) for side in rng.integers(150, 700, 2))
    match number % 3:
        case 0:
            pixels = np.full((height, width, 3), 255, np.uint8)
        case 1:
            pixels = np.broadcast_to(rng.integers(0, 256, 3), (height, width, 3)).astype(np.uint8)
        case _:
            grain = int(rng.integers(1, 20))
            noise = rng.integers(0, 256, (height // grain + 1, width // grain + 1, 3)).astype(np.uint8)
            pixels = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    left, top = (int(at) for at in rng.integers(0, 100, 2))
    anywhere = (left, top, left + int(rng.integers(50, 600)), top + int(rng.integers(30, 300)))
    tasks = (
        _Task(_LAYOUT, None, "[]"),
        _Task(_BOXES, None, "[]"),
        _Task(_TEXT, None, ""),
        _Task(_WITHIN, anywhere, ""),
    )
    return _Example(_seen(network, pixels), tasks)


@torch.no_grad()
def _seen(network: _Network, pixels: Image) -> torch.Tensor:
    inputs = _processor()(pixels, return_tensors="pt")
    _, rows, columns = inputs["image_grid_thw"][0].tolist()
    return network.vision_tower.trunk(inputs["pixel_values"], rows, columns)


@cache
def _processor() -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(**_PROCESSOR)


def _tokenizer() -> Qwen2Tokenizer:
    blank = Qwen2Tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + _MERGES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    answers = [task.answer for page in PAGES for task in _tasks(page, _Size(1, 1), lambda box: (0, 0, 0, 0))]
    blank.backend_tokenizer.train_from_iterator([*_QUESTIONS.values(), *answers], trainer)
    model = json.loads(blank.backend_tokenizer.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        unk_token=None,
        eos_token=_PAD,
        pad_token=_PAD,
        additional_special_tokens=list(_SPECIAL[1:]),
        chat_template=_TEMPLATE,
        model_max_length=_WINDOW,
    )


def _config(tokenizer: Qwen2Tokenizer) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=_HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
        max_position_embeddings=_WINDOW,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(_PAD),
        tie_word_embeddings=False,
    )


def _train(
    network: _Network,
    tokenizer: Qwen2Tokenizer,
    known: Mapping[float, Sequence[Sequence[_Example]]],
    strangers: Sequence[_Example],
    say: Callable[[str], None],
) -> None:
    batches = _batches(known, strangers)
    first = {scale: [variants[0] for variants in pages] for scale, pages in known.items()}
    unknown = None
    for steps, rate in _ROUNDS:
        _learn(network, tokenizer, islice(batches, steps), steps=steps, rate=rate, say=say)
        unknown = _unknown(network, tokenizer, first)
        if unknown is None:
            return
        say(f"dots: {unknown}")
    raise RuntimeError(f"the tiny dots.ocr has not learnt its pages: {unknown}")


def _batches(
    known: Mapping[float, Sequence[Sequence[_Example]]], strangers: Sequence[_Example]
) -> Iterator[list[_Example]]:
    """Without end."""
    chooser = random.Random(0)  # noqa: S311 - no secret is made of it
    for scale in cycle(_SCALES):
        pages = chooser.sample(known[scale], _PAGES_PER_STEP)
        yield [*map(chooser.choice, pages), *chooser.sample(strangers, _STRANGERS_PER_STEP)]


def _learn(
    network: _Network,
    tokenizer: Qwen2Tokenizer,
    batches: Iterable[Sequence[_Example]],
    *,
    steps: int,
    rate: float,
    say: Callable[[str], None],
) -> None:
    """One round: a step for each of the batches, of which there are `steps`."""
    learning = [*network.vision_tower.merger.mlp.parameters(), *network.language_model.parameters()]
    optimizer = torch.optim.AdamW(learning, rate, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, 20, steps)
    for step, batch in enumerate(batches, 1):
        optimizer.zero_grad()
        total = sum(_learn_from(network, tokenizer, example, 1 / len(batch)) for example in batch)
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            say(f"dots: step {step}, loss {total:.3f}")


def _learn_from(network: _Network, tokenizer: Qwen2Tokenizer, example: _Example, weight: float) -> float:
    """Add the example's gradients, `weight` times, to those that there are; its loss, as many times."""
    # By the root of its length: else the short answers would be lost among the long ones.
    losses = [each.sum() / len(each) ** 0.5 for each in _losses(network, tokenizer, example)]
    loss = torch.stack(losses).mean() * weight
    loss.backward()
    return loss.item()


@torch.no_grad()
def _unknown(network: _Network, tokenizer: Qwen2Tokenizer, known: Mapping[float, Sequence[_Example]]) -> str | None:
    """The first answer that the network is not sure of, if there is one."""
    for scale, examples in known.items():
        for page, example in zip(PAGES, examples):
            for task, losses in zip(example.tasks, _losses(network, tokenizer, example)):
                sure = (-losses.max()).exp().item()
                if sure < _SURE:
                    return f"of {task.kind} of {page.name} at scale {scale:g} one token has a probability of {sure:.2f}"
    return None


def _losses(network: _Network, tokenizer: Qwen2Tokenizer, example: _Example) -> list[torch.Tensor]:
    """Nats, of each token of the answer to each task.

    All tasks stand behind one picture, in one sequence: each sees the picture and itself.
    """
    before = tokenizer.encode(_prompt(tokenizer, example.tasks[0]).split(_PICTURE)[0])
    shared = len(before) + len(example.seen)
    ids, owners, positions = before + [tokenizer.pad_token_id] * len(example.seen), [0] * shared, [*range(shared)]
    answers = []
    for number, task in enumerate(example.tasks, 1):
        question = tokenizer.encode(_prompt(tokenizer, task).split(_PICTURE)[1])
        answer = tokenizer.encode(task.answer + _END)
        answers.append((len(ids) + len(question), answer))
        length = len(question) + len(answer)
        ids += question + answer
        owners += [number] * length
        positions += range(shared, shared + length)
    owner = torch.tensor(owners)
    visible = ((owner == 0) | (owner == owner[:, None])).tril()
    model = network.language_model
    embedded = model.get_input_embeddings()(torch.tensor(ids))
    picture = network.vision_tower.merger.mlp(example.seen)
    embedded = torch.cat([embedded[: len(before)], picture, embedded[shared:]])
    states = model.model(
        inputs_embeds=embedded[None],
        attention_mask=visible[None, None],
        position_ids=torch.tensor([positions]),
        use_cache=False,
    ).last_hidden_state[0]
    return [
        functional.cross_entropy(
            model.lm_head(states[start - 1 : start - 1 + len(answer)]), torch.tensor(answer), reduction="none"
        )
        for start, answer in answers
    ]


def _prompt(tokenizer: Qwen2Tokenizer, task: _Task) -> str:
    question = _QUESTIONS[task.kind] + (str(list(task.box)) if task.box else "")
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    return str(tokenizer.apply_chat_template([message], tokenize=False))


def _save(network: _Network, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.published(), folder / "model.safetensors", {"format": "pt"})
    tokenizer.save_pretrained(folder)
    shutil.copy(Path(__file__).with_name("dots_folder") / "configuration_dots.py", folder)
    text = _config(tokenizer).to_dict()
    _write(
        folder / "config.json",
        {
            **text,
            "architectures": ["DotsOCRForCausalLM"],
            "auto_map": {"AutoConfig": "configuration_dots.DotsOCRConfig"},
            "dtype": "float32",
            "image_token_id": tokenizer.convert_tokens_to_ids(_PICTURE),
            "model_type": "dots_ocr",
            "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
            "vision_config": {**_VISION, "hidden_size": _HIDDEN},
        },
    )
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (_PAD, _END)]
    _write(folder / "generation_config.json", {"eos_token_id": ends, "pad_token_id": ends[0]})
    _write(folder / "preprocessor_config.json", _PROCESSOR)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
