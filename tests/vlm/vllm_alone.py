"""`python -m tests.vlm.vllm_alone WEIGHTS PROMPT PICTURE…`: what vLLM alone writes, a line a picture."""

from __future__ import annotations

import json
import sys

from PIL import Image

from scripts.launch.dots import engine_arguments
from scripts.launch.server import ROOT


def main(weights: str, prompt: str, *pictures: str) -> None:
    from vllm import LLM, SamplingParams  # noqa: PLC0415 - its processes import this file, too

    model = LLM(**engine_arguments(ROOT / "model_repository", weights, gpu=False))
    for picture in pictures:
        request = {"prompt": prompt, "multi_modal_data": {"image": Image.open(picture).convert("RGB")}}
        [answer] = model.generate(request, SamplingParams(temperature=0, max_tokens=200, logprobs=1), use_tqdm=False)
        [text] = answer.outputs
        logprobs = [next(iter(position.values())).logprob for position in text.logprobs]
        print(json.dumps({"text": text.text, "logprobs": logprobs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
