"""Stands in for dots_vllm and internvl_python in a real Triton: both contracts, decoupled, requests side by side.

What is to happen stands in ORDERS/KEY.json, where KEY is the colour (rrggbb) of the picture's upper left pixel:
`tokens`: the pieces of text to send, a list of bytes where a piece is to end within a character; `delay`: seconds
before each; `finish_reason`; `error`: an error's text in place of the end; `logprob`: of every token.
What was seen is written to ORDERS/KEY.seen.json when the request is over, `sent` and `cancelled` among it.
ORDERS/load.json says what loading does: `sleep` seconds, or `fail` with a text. ORDERS/loads holds a line for each
beginning and end of a loaded copy.
"""

import base64
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._orders = Path(config["parameters"]["orders"]["string_value"])
        self._vllm = args["model_name"] == "dots_vllm"
        load = self._read("load.json")
        if "fail" in load:
            raise FileNotFoundError(load["fail"])
        self._note("loaded")
        time.sleep(load.get("sleep", 0))

    def finalize(self) -> None:
        time.sleep(self._read("load.json").get("sleep", 0))
        self._note("unloaded")

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            arguments = (request.get_response_sender(), inputs, request.request_id())
            threading.Thread(target=self._answer, args=arguments).start()

    def _answer(self, sender: Any, inputs: dict[str, Any], request_id: str) -> None:
        encoded = inputs["image"][0]
        picture = Image.open(io.BytesIO(base64.b64decode(encoded) if self._vllm else encoded))
        key = "{:02x}{:02x}{:02x}".format(*picture.convert("RGB").getpixel((0, 0)))  # type: ignore[misc]
        orders = {"tokens": ["?"], "delay": 0.0, "finish_reason": "stop", "logprob": -0.5, **self._read(f"{key}.json")}
        sent = 0
        # To ask the sender once the final flag is sent brings tritonserver down.
        cancelled = False
        for token in orders["tokens"]:
            end = time.monotonic() + orders["delay"]
            while not (cancelled := sender.is_cancelled()) and time.monotonic() < end:
                time.sleep(0.01)
            if cancelled:
                break
            text = bytes(token) if isinstance(token, list) else token.encode()
            last = sent == len(orders["tokens"]) - 1 and "error" not in orders
            sender.send(self._response(text, orders, picture, sent, last), flags=int(last))
            sent += 1
        seen = {
            **{name: _plain(array[0]) for name, array in inputs.items() if name != "image"},
            "mode": picture.mode,
            "format": picture.format,
            "size": picture.size,
            "request_id": request_id,
            "sent": sent,
            "cancelled": cancelled,
        }
        (self._orders / f"{key}.seen.json").write_text(json.dumps(seen))
        if cancelled or "error" in orders:
            error = pb_utils.TritonError(orders.get("error", "cancelled"))
            sender.send(pb_utils.InferenceResponse(error=error), flags=1)

    def _response(self, text: bytes, orders: dict[str, Any], picture: Image.Image, sent: int, last: bool) -> Any:
        going = b"None" if self._vllm else b""
        common = {
            "text_output" if self._vllm else "text": np.array([text], np.object_),
            "finish_reason": np.array([orders["finish_reason"].encode() if last else going], np.object_),
        }
        count = np.uint32 if self._vllm else np.int32
        if self._vllm:
            common["num_input_tokens"] = np.array([picture.width * picture.height // 784], count)
            common["num_output_tokens"] = np.array([1], count)
        else:
            common["token_logprobs"] = np.array([orders["logprob"]], np.float32)
            common["confidence"] = np.array([np.exp(orders["logprob"])], np.float32)
            common["image_patches"] = np.array([7], count)
            common["num_input_tokens"] = np.array([1810], count)
            common["num_output_tokens"] = np.array([sent + 1], count)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in common.items()])

    def _read(self, name: str) -> dict[str, Any]:
        path = self._orders / name
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _note(self, event: str) -> None:
        with (self._orders / "loads").open("a") as file:
            file.write(f"{event}\n")


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value.item()
