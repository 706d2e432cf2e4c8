"""vLLM's statistics among Triton's metrics, under the names that NVIDIA's backend gives them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import triton_python_backend_utils as pb_utils

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.metrics.stats import IterationStats, SchedulerStats

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_CACHE = "vllm:gpu_cache_usage_perc"
_PROMPT_TOKENS = "vllm:prompt_tokens_total"
_GENERATION_TOKENS = "vllm:generation_tokens_total"
_PREEMPTIONS = "vllm:num_preemptions_total"
_FIRST_TOKEN = "vllm:time_to_first_token_seconds"  # noqa: S105 - a token of text
_NEXT_TOKEN = "vllm:time_per_output_token_seconds"  # noqa: S105
_LATENCY = "vllm:e2e_request_latency_seconds"

_GAUGES = {
    _RUNNING: "Requests in the engine's batch.",
    _WAITING: "Requests that wait to be processed.",
    _CACHE: "Share of the KV cache that is in use, 0 to 1.",
}
_COUNTERS = {
    _PROMPT_TOKENS: "Prompt tokens processed.",
    _GENERATION_TOKENS: "Tokens generated.",
    _PREEMPTIONS: "Times that a request had to give its part of the KV cache up.",
}
_HISTOGRAMS = {
    _FIRST_TOKEN: ("Seconds until a request's first token.", [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]),
    _NEXT_TOKEN: ("Seconds between two tokens.", [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]),
    _LATENCY: ("Seconds from a request's arrival to its end.", [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]),
}


class Metrics:
    """A logger of vLLM's that keeps what the engine reports until `publish` passes it on.

    To pass a number on is a message to Triton's process, and the engine does not wait for messages.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        # The families have to live as long as their metrics.
        self._families: list[Any] = []
        self._metrics: dict[str, Any] = {}
        for name, description in _GAUGES.items():
            self._add(name, description, pb_utils.MetricFamily.GAUGE, labels=labels)
        for name, description in _COUNTERS.items():
            self._add(name, description, pb_utils.MetricFamily.COUNTER, labels=labels)
        for name, (description, buckets) in _HISTOGRAMS.items():
            self._add(name, description, pb_utils.MetricFamily.HISTOGRAM, labels=labels, buckets=buckets)
        self._lock = threading.Lock()
        self._values: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._increments, self._observations = _nothing()

    def __call__(self, vllm_config: VllmConfig, engine_index: int = 0) -> Metrics:
        """The logger of an engine: there is but one."""
        return self

    def record(
        self, scheduler_stats: SchedulerStats | None, iteration_stats: IterationStats | None, *_: Any, **__: Any
    ) -> None:
        """Take what the engine reports of a step."""
        with self._lock:
            if scheduler_stats is not None:
                self._values = {
                    _RUNNING: scheduler_stats.num_running_reqs,
                    _WAITING: scheduler_stats.num_waiting_reqs,
                    _CACHE: scheduler_stats.kv_cache_usage,
                }
            if iteration_stats is not None:
                self._increments[_PROMPT_TOKENS] += iteration_stats.num_prompt_tokens
                self._increments[_GENERATION_TOKENS] += iteration_stats.num_generation_tokens
                self._increments[_PREEMPTIONS] += iteration_stats.num_preempted_reqs
                self._observations[_FIRST_TOKEN] += iteration_stats.time_to_first_tokens_iter
                self._observations[_NEXT_TOKEN] += iteration_stats.inter_token_latencies_iter
                self._observations[_LATENCY] += [done.e2e_latency for done in iteration_stats.finished_requests]

    def rest(self) -> None:
        """Take note that nothing is left to do: an engine whose last request was aborted reports no more steps."""
        with self._lock:
            self._values = dict.fromkeys(_GAUGES, 0)

    def publish(self) -> None:
        """Tell Triton what has been reported since the last call."""
        with self._lock:
            values, increments, observations = self._values, self._increments, self._observations
            self._values = {}
            self._increments, self._observations = _nothing()
        for name, value in values.items():
            if self._told.get(name) != value:
                self._metrics[name].set(value)
        self._told.update(values)
        for name, increment in increments.items():
            if increment:
                self._metrics[name].increment(increment)
        for name, observed in observations.items():
            for value in observed:
                self._metrics[name].observe(value)

    def close(self) -> None:
        """Let go of Triton's metrics, as has to be done before the memory goes that they share with Triton."""
        self._metrics.clear()
        self._families.clear()

    def log_engine_initialized(self) -> None:
        """Part of vLLM's interface; there is nothing to tell."""

    def log(self) -> None:
        """Part of vLLM's interface; `publish` tells it all."""

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        """Part of vLLM's interface; this engine does not sleep."""

    def _add(self, name: str, description: str, kind: Any, **parameters: Any) -> None:
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)
        self._metrics[name] = family.Metric(**parameters)


def _nothing() -> tuple[dict[str, int], dict[str, list[float]]]:
    return dict.fromkeys(_COUNTERS, 0), {name: [] for name in _HISTOGRAMS}
