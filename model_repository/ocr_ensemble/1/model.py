"""ocr_ensemble: an encoded picture in, its lines of text out. The networks are models of their own, called by BLS."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import locale
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

_NEEDS = {"cv2": "opencv-python-headless", "numpy": "numpy", "pyclipper": "pyclipper"}
_missing = [package for module, package in _NEEDS.items() if importlib.util.find_spec(module) is None]
if _missing:
    raise ImportError(
        f"ocr_ensemble needs {', '.join(_missing)} in the server's Python: pip install {' '.join(_missing)}"
    )

from ppocr import crops, pipeline, profiles  # noqa: E402
from ppocr.errors import InvalidArgumentError, RequestError  # noqa: E402
from ppocr.options import Options  # noqa: E402

locale.setlocale(locale.LC_CTYPE, "C.UTF-8")  # the stub starts in the C locale


class TritonPythonModel:
    """Serves one picture at a time; several instances share the networks."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the profiles that lie beside this file."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._default_profile = parameters["default_profile"]["string_value"]
        self._pace = pipeline.Pace(
            lines=_number(parameters, "recognition_lines"), instances=_number(parameters, "recognition_instances")
        )
        self._profiles = profiles.load_profiles(
            Path(args["model_repository"], args["model_version"]), parameters["precision"]["string_value"]
        )
        profiles.choose(self._profiles, self._default_profile)
        # Who asks Triton for its metrics learns what may be asked for. The family has to live as long as the metrics.
        self._family = pb_utils.MetricFamily(
            name="ocr_ensemble_profile", description="1 for each loaded profile", kind=pb_utils.MetricFamily.GAUGE
        )
        self._loaded = [self._family.Metric(labels={"profile": name}) for name in self._profiles]
        for metric in self._loaded:
            metric.set(1)

    async def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; a bad request gets its error and its neighbours their answers."""
        return list(await asyncio.gather(*map(self._answer, requests)))

    async def _answer(self, request: Any) -> Any:
        try:
            options = Options(**_options(request))
            profile = profiles.choose(self._profiles, options.profile or self._default_profile)
            if options.rec_profile:
                profile = profiles.mixed(profile, profiles.choose(self._profiles, options.rec_profile))
            networks = _TritonNetworks(profile, request)
            page = await pipeline.read(_picture(request), options, profile, networks, self._pace)
        except RequestError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        except _CancelledError:
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError("the request was cancelled", pb_utils.TritonError.CANCELLED)
            )
        except pb_utils.TritonModelException as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(*named) for named in _outputs(page, profile.name).items()])


class _CancelledError(Exception):
    """The caller has left: the rest of its page is not worth computing."""


class _TritonNetworks:
    """pipeline.Networks by BLS, on a profile's versions of the models, until the request is cancelled."""

    def __init__(self, profile: profiles.Profile, request: Any) -> None:
        self._profile = profile
        self._request = request

    async def classify_page(self, image: crops.Image) -> np.ndarray:
        (probability,) = await self._infer("doc_onnx", 1, {"image": image}, ["probability"])
        return probability

    async def detect(self, image: crops.Image) -> np.ndarray:
        (probability,) = await self._infer("det_onnx", self._profile.version, {"image": image}, ["probability"])
        return probability

    async def orient(self, image: crops.Image, width: np.ndarray) -> np.ndarray:
        (probability,) = await self._infer(
            "cls_onnx", self._profile.version, {"image": image, "width": width}, ["probability"]
        )
        return probability

    async def recognize(self, image: crops.Image, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index, score = await self._infer(
            "rec_onnx", self._profile.rec_version, {"image": image, "width": width}, ["index", "score"]
        )
        return index, score

    async def _infer(
        self, model: str, version: int, inputs: dict[str, np.ndarray], outputs: list[str]
    ) -> list[np.ndarray]:
        if self._request.is_cancelled():
            raise _CancelledError
        # A new request each time: executing one object twice at once brings the server down.
        response = await pb_utils.InferenceRequest(
            model_name=model,
            model_version=version,
            requested_output_names=outputs,
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in inputs.items()],
            request_id=self._request.request_id(),
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        ).async_exec()
        if response.has_error():
            raise pb_utils.TritonModelException(f"{model}: {response.error().message()}")
        return [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs]


def _number(parameters: dict[str, dict[str, str]], name: str) -> int:
    number = int(parameters[name]["string_value"])
    if number < 1:
        raise ValueError(f"the parameter {name} of ocr_ensemble must be at least 1, not {number}")
    return number


def _picture(request: Any) -> bytes:
    values = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
    if values.shape != (1,):
        raise InvalidArgumentError(f"image must be one encoded picture, shape [1], not {list(values.shape)}")
    return bytes(values[0])


def _options(request: Any) -> dict[str, Any]:
    """The optional inputs that the request carries, as Python values by their names."""
    options = {}
    for tensor in request.inputs():
        if tensor.name() == "image":
            continue
        values = tensor.as_numpy()
        if values.shape != (1,):
            raise InvalidArgumentError(f"{tensor.name()} must have shape [1], not {list(values.shape)}")
        value = values[0]
        options[tensor.name()] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item()
    return options


def _outputs(page: pipeline.Page, profile: str) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([line.quad for line in page.lines], np.float32).reshape(-1, 4, 2),
        "box_scores": np.array([line.box_score for line in page.lines], np.float32),
        "texts": _strings([line.text for line in page.lines]),
        "scores": np.array([line.score for line in page.lines], np.float32),
        "angles": np.array([line.angle for line in page.lines], np.int32),
        "words": _strings([_words_json(line) for line in page.lines]),
        "text": _strings([page.text]),
        "size": np.array([page.width, page.height], np.int32),
        "page_angle": np.array([page.angle], np.int32),
        "more_frames": np.array([page.more_frames]),
        "times": _strings([json.dumps(page.times)]),
        "profile_used": _strings([profile]),
    }


def _words_json(line: pipeline.PageLine) -> str:
    if not line.words:
        return ""
    return json.dumps(
        [
            {**_span_json(word.span), "characters": [_span_json(character) for character in word.characters]}
            for word in line.words
        ],
        ensure_ascii=False,
    )


def _span_json(span: Any) -> dict[str, Any]:
    return {"text": span.text, "score": round(span.score, 4), "quad": np.round(span.quad, 1).tolist()}


def _strings(values: list[str]) -> np.ndarray:
    return np.array([value.encode() for value in values], np.object_)
