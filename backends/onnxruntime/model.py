"""Triton's onnxruntime backend for a server that has none: runs every model with `backend: "onnxruntime"`.

Triton starts one process for each model instance and hands it the requests of one batch together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import triton_python_backend_utils as pb_utils

if TYPE_CHECKING:
    from backends.onnxruntime import batches, sessions
else:  # Triton puts this file's folder, not the project's root, on the path
    import batches
    import sessions

PROVIDER_METRIC = "ocr_onnxruntime_execution_provider"


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network, and tell in the log and among Triton's metrics what it runs on."""
        config = json.loads(args["model_config"])
        self._name = f"{args['model_name']} version {args['model_version']}"
        self._outputs = [output["name"] for output in config["output"]]
        self._batched = config["max_batch_size"] > 0
        self._session = sessions.Session(
            sessions.plan(args, sessions.usable_cpus()),
            warn=lambda line: pb_utils.Logger.log_warn(f"{self._name}: {line}"),
        )
        self._session.check(config)
        pb_utils.Logger.log_info(f"{self._name} runs on {self._session.provider}")
        # The family has to live as long as the metric.
        self._metrics = pb_utils.MetricFamily(
            name=PROVIDER_METRIC,
            description="1 for the execution provider that a version of a model runs on",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._metric = self._metrics.Metric(
            labels={
                "model": args["model_name"],
                "version": args["model_version"],
                "provider": self._session.provider,
            }
        )
        self._metric.set(1)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request. A request that fails does so alone."""
        responses: list[Any] = [None] * len(requests)
        waiting = []
        for place, request in enumerate(requests):
            if request.is_cancelled():
                responses[place] = _failure("the request was cancelled", pb_utils.TritonError.CANCELLED)
            else:
                waiting.append(place)
        feeds = [{tensor.name(): tensor.as_numpy() for tensor in requests[place].inputs()} for place in waiting]
        # The scheduler keeps a batch within max_batch_size.
        together = batches.groups(feeds) if self._batched else [[place] for place in range(len(feeds))]
        for group in together:
            places = [waiting[member] for member in group]
            answers = self._answer([requests[place] for place in places], [feeds[member] for member in group])
            for place, answer in zip(places, answers, strict=True):
                responses[place] = answer
        return responses

    def _answer(self, requests: Sequence[Any], feeds: Sequence[batches.Feed]) -> list[Any]:
        """Responses to requests of one shape, computed in one run, or each alone where that fails."""
        asked = [set(request.requested_output_names()) for request in requests]
        names = [name for name in self._outputs if any(name in some for some in asked)]
        try:
            outputs = self._session.run(names, batches.stacked(feeds))
            shares = batches.apart(outputs, [batches.rows(feed) for feed in feeds]) if self._batched else [outputs]
        except Exception as error:
            if len(requests) > 1:
                return [self._answer([request], [feed])[0] for request, feed in zip(requests, feeds, strict=True)]
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds[0].items())
            return [_failure(f"{self._name} cannot run {shapes}: {error}", pb_utils.TritonError.INTERNAL)]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(name, share[name]) for name in names if name in some])
            for share, some in zip(shares, asked, strict=True)
        ]


def _failure(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
