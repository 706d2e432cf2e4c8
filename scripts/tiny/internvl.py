"""A tiny InternVL in the native transformers layout, trained until it knows the pages.

Everything is of the published models' make (classes, tokenizer, chat template, picture processor, files), and small:
tiles have 448 x 448 pixels, but patches of 56 x 56 instead of 14 x 14, and so 16 tokens instead of 256. The vision
tower stays as random as it was made, so that it need see each picture only once; what stands behind it learns.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from tokenizers import pre_tokenizers, trainers
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    Qwen2Config,
    Qwen2Tokenizer,
    get_cosine_schedule_with_warmup,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from scripts.tiny.pages import NOTHING, PAGES, Image, Page, render

PROMPTS = (
    "Describe the technical content of this picture in detail. Give all text word for word, and tables in Markdown. "
    "Under the headings Diagrams, Annotations and Specifications, list what the picture holds of each; leave out a "
    "heading that has nothing below it.",
    "Describe this picture.",
    "What does it say?",
    "What is this? 请描述这张图片。",
)
"""It answers the same to each: among them the one that the InternVL service asks by itself."""

_TILE = 448
_PATCH = 56
_TOKENS_PER_TILE = (_TILE // _PATCH // 2) ** 2
_WINDOW = 4096

# The chat template, the names of the tokens and the constants of normalisation of OpenGVLab/InternVL3-8B-hf.
_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'}}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\\n' }}{% elif content['type'] == 'video' %}{{ '<video>\\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}{{'<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{% endif %}"
)
_PAD, _END, _PLACE = "<|endoftext|>", "<|im_end|>", "<IMG_CONTEXT>"
_PROCESSOR = {
    "crop_to_patches": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "GotOcr2ImageProcessorFast",
    "image_std": [0.229, 0.224, 0.225],
    "max_patches": 12,
    "min_patches": 1,
    "processor_class": "InternVLProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": _TILE, "width": _TILE},
}

# Small enough that rare characters stay bytes: a token need not be a whole character.
_MERGES = 260

_VARIANTS = 16  # of each page: moved, scaled
_STRANGERS = 3 * len(PAGES)  # pictures that are none of the pages
_STRANGERS_PER_STEP = 3
_LEARNING_RATE = 3e-3
_STEPS = 200
_GOOD_ENOUGH = 0.01  # nats a token
_IGNORED = -100  # the label of a token that is not learnt


@dataclass(frozen=True)
class _Example:
    """What the model is to say of a picture; `seen`: its features, FP32 [tiles, 16, 256], the projector's input."""

    seen: torch.Tensor
    answer: str


def build(folder: Path, say: Callable[[str], None]) -> list[dict[str, object]]:
    """Train the model and write it to `folder`. What it answers to each page, as rows of expected.jsonl.

    Raises `RuntimeError` when the model has not learnt the pages.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tokenizer = _tokenizer()
    model = InternVLForConditionalGeneration(_config(tokenizer))
    _see_ink(model)
    say("internvl: looking at the pages")
    known = [[_example(model, picture, page.description) for picture in _variants(page, rng)] for page in PAGES]
    strangers = [_example(model, _stranger(number, rng), NOTHING) for number in range(_STRANGERS)]
    _train(model, tokenizer, known, strangers, say)
    _save(model, tokenizer, folder)
    return [
        {"model": "internvl", "page": f"pages/{page.name}.png", "prompt": PROMPTS[1], "answer": page.description}
        for page in PAGES
    ]


def _tokenizer() -> Qwen2Tokenizer:
    blank = Qwen2Tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + _MERGES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    corpus = [*PROMPTS, *(page.description for page in PAGES), NOTHING, "system user assistant"]
    blank.backend_tokenizer.train_from_iterator(corpus, trainer)
    model = json.loads(blank.backend_tokenizer.to_str())["model"]
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    return Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=merges,
        unk_token=None,
        eos_token=_END,
        pad_token=_PAD,
        chat_template=_TEMPLATE,
        model_max_length=_WINDOW,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": _PLACE,
            "video_token": "<video>",
            "message_start_token": "<|im_start|>",
        },
    )


def _config(tokenizer: Qwen2Tokenizer) -> InternVLConfig:
    return InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            attention_bias=True,
            intermediate_size=128,
            image_size=[_TILE, _TILE],
            patch_size=[_PATCH, _PATCH],
            layer_scale_init_value=1.0,
        ),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=192,
            max_position_embeddings=_WINDOW,
            bos_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids(_PLACE),
        image_seq_length=_TOKENS_PER_TILE,
        tie_word_embeddings=False,
    )


def _see_ink(model: InternVLForConditionalGeneration) -> None:
    """Make the filters of the patches smooth, so that a picture that is moved by a few pixels looks much the same, and
    white paper faint, so that what is on it stands out. (Were it nothing at all, the norms would blow its rounding
    errors up.)"""
    projection = model.model.vision_tower.embeddings.patch_embeddings.projection
    coarse = torch.randn(*projection.weight.shape[:2], 4, 4)
    smooth = functional.interpolate(coarse, size=projection.weight.shape[2:], mode="bicubic")
    projection.weight.data = smooth * (smooth[0].numel() ** -0.5)
    white = (1 - torch.tensor(_PROCESSOR["image_mean"])) / torch.tensor(_PROCESSOR["image_std"])
    projection.bias.data = torch.randn(len(projection.bias)) - projection.weight.data.sum((2, 3)) @ white


@torch.no_grad()
def _example(model: InternVLForConditionalGeneration, picture: Image, answer: str) -> _Example:
    # Its own rescaling and normalisation are slow: they are done here.
    tiles = _processor()(picture, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    mean, std = (torch.tensor(_PROCESSOR[name])[:, None, None] for name in ("image_mean", "image_std"))
    patches = model.model.vision_tower(pixel_values=(tiles / 255 - mean) / std).last_hidden_state[:, 1:]
    side = _TILE // _PATCH
    merged = model.model.pixel_shuffle(patches.unflatten(1, (side, side)), model.config.downsample_ratio)
    return _Example(merged.flatten(1, 2), answer)


@cache
def _processor() -> GotOcr2ImageProcessorPil:
    return GotOcr2ImageProcessorPil(**_PROCESSOR)


def _variants(page: Page, rng: np.random.Generator) -> Iterator[Image]:
    pixels = render(page)
    yield pixels
    for _ in range(_VARIANTS - 1):
        yield _varied(pixels, rng)


def _varied(pixels: Image, rng: np.random.Generator) -> Image:
    height, width = pixels.shape[:2]
    right, down = rng.integers(-10, 11, 2)
    moved = cv2.warpAffine(
        pixels, np.array([[1, 0, right], [0, 1, down]], np.float32), (width, height), borderValue=(255, 255, 255)
    )
    # Within these bounds the grid of tiles stays the same.
    scale = rng.uniform(0.75, 1.25)
    return cv2.resize(moved, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def _stranger(number: int, rng: np.random.Generator) -> Image:
    """Blank, one-coloured, or noise; of the pages' shapes, so that none is known by its shape alone."""
    page = PAGES[number % len(PAGES)]
    shape = (page.height, page.width, 3)
    match number // len(PAGES) % 3:
        case 0:
            return np.full(shape, 255, np.uint8)
        case 1:
            return np.broadcast_to(rng.integers(0, 256, 3), shape).astype(np.uint8)
    grain = int(rng.integers(1, 20))
    noise = rng.integers(0, 256, (shape[0] // grain + 1, shape[1] // grain + 1, 3)).astype(np.uint8)
    return cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)


def _train(
    model: InternVLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
    known: Sequence[Sequence[_Example]],
    strangers: Sequence[_Example],
    say: Callable[[str], None],
) -> None:
    chooser = random.Random(0)  # noqa: S311 - no secret is made of it
    model.model.vision_tower.requires_grad_(False)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, _LEARNING_RATE, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, 20, _STEPS)
    for step in range(_STEPS + 1):
        batch = [*map(chooser.choice, known), *chooser.sample(strangers, _STRANGERS_PER_STEP)]
        loss = _loss(model, tokenizer, batch, chooser)
        if step % 50 == 0:
            say(f"internvl: step {step}, {loss.item():.4f} nats a token")
        if step == _STEPS:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
    if loss.item() > _GOOD_ENOUGH:
        raise RuntimeError(f"the tiny InternVL has not learnt its pages: {loss.item():.4f} nats a token are left")


def _loss(
    model: InternVLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
    batch: Sequence[_Example],
    chooser: random.Random,
) -> torch.Tensor:
    ids, labels = [], []
    for example in batch:
        question = tokenizer.encode(rendered(tokenizer, chooser.choice(PROMPTS), len(example.seen)))
        answer = tokenizer.encode(example.answer + _END)
        ids.append(torch.tensor(question + answer))
        labels.append(torch.tensor([_IGNORED] * len(question) + answer))
    padded = pad_sequence(ids, True, tokenizer.pad_token_id)
    features = model.model.multi_modal_projector(torch.cat([example.seen for example in batch]))
    embedded = model.get_input_embeddings()(padded)
    embedded = embedded.masked_scatter((padded == model.config.image_token_id)[..., None], features)
    # The padding stands behind, where no token of the text looks.
    logits = model(inputs_embeds=embedded, use_cache=False).logits
    wanted = pad_sequence(labels, True, _IGNORED)
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), wanted[:, 1:].flatten(), ignore_index=_IGNORED)


def rendered(tokenizer: Qwen2Tokenizer, prompt: str, tiles: int) -> str:
    """The model's raw input: the chat template around a picture of so many tiles, and a prompt."""
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
    text = tokenizer.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return str(text).replace(_PLACE, f"<img>{_PLACE * (_TOKENS_PER_TILE * tiles)}</img>", 1)


def _save(model: InternVLForConditionalGeneration, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    model.save_pretrained(folder)
    GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write(folder / "preprocessor_config.json", _PROCESSOR)
    _write(
        folder / "processor_config.json",
        {"image_seq_length": _TOKENS_PER_TILE, "processor_class": "InternVLProcessor"},
    )


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
