"""What Triton itself counts: requests, runs of the networks, and time in queues and in models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_METRIC = re.compile(r'^nv_inference_(\w+)\{model="([^"]+)",version="[^"]*"[^}]*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class ModelStatistics:
    """What a model did in some span of time.

    Attributes:
        requests: how many it answered.
        rows: of all requests together; Triton's word is inferences.
        runs: executions; fewer than requests where some shared one.
        queue_seconds, compute_seconds: of all requests together, waiting and in the model.
    """

    requests: int
    rows: int
    runs: int
    queue_seconds: float
    compute_seconds: float

    def __sub__(self, before: ModelStatistics) -> ModelStatistics:
        return ModelStatistics(
            self.requests - before.requests,
            self.rows - before.rows,
            self.runs - before.runs,
            self.queue_seconds - before.queue_seconds,
            self.compute_seconds - before.compute_seconds,
        )

    def __add__(self, other: ModelStatistics) -> ModelStatistics:
        return ModelStatistics(
            self.requests + other.requests,
            self.rows + other.rows,
            self.runs + other.runs,
            self.queue_seconds + other.queue_seconds,
            self.compute_seconds + other.compute_seconds,
        )


def statistics(metrics: str) -> dict[str, ModelStatistics]:
    """By model, all versions together, since Triton's start; from the text that its metrics port gives."""
    sums: dict[str, dict[str, float]] = {}
    for counter, model, value in _METRIC.findall(metrics):
        of_model = sums.setdefault(model, {})
        of_model[counter] = of_model.get(counter, 0.0) + float(value)
    return {
        model: ModelStatistics(
            requests=int(of_model["request_success"]),
            rows=int(of_model["count"]),
            runs=int(of_model["exec_count"]),
            queue_seconds=of_model["queue_duration_us"] / 1e6,
            compute_seconds=of_model["compute_infer_duration_us"] / 1e6,
        )
        for model, of_model in sums.items()
    }


def between(before: Mapping[str, ModelStatistics], after: Mapping[str, ModelStatistics]) -> dict[str, ModelStatistics]:
    """What was done meanwhile, of the models that did something."""
    found = {model: after[model] - before[model] for model in after if model in before}
    return {model: done for model, done in found.items() if done.requests}
