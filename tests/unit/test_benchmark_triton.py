from __future__ import annotations

import json

import pytest

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.ours import served_precision
from scripts.benchmark.perf_analyzer import sample_of
from scripts.benchmark.samples import Sample, shares
from scripts.benchmark.scaling import linear
from scripts.benchmark.triton_metrics import ModelStatistics, between, statistics


def metrics(requests: int, rows: int, runs: int, version: int = 1) -> str:
    label = f'{{model="rec_onnx",version="{version}"}}'
    return f"""# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
nv_inference_request_success{label} {requests}
nv_inference_request_failure{{model="rec_onnx",reason="OTHER",version="{version}"}} 0
nv_inference_count{label} {rows}
nv_inference_exec_count{label} {runs}
nv_inference_queue_duration_us{label} {requests * 1000}
nv_inference_compute_infer_duration_us{label} {runs * 5000}
nv_cpu_utilization 0.5
"""


def test_the_versions_of_a_model_count_together() -> None:
    found = statistics(metrics(4, 20, 2) + metrics(1, 6, 1, version=2))
    assert found == {"rec_onnx": ModelStatistics(5, 26, 3, queue_seconds=0.005, compute_seconds=0.015)}


def test_what_was_done_meanwhile_is_the_difference_and_idle_models_are_left_out() -> None:
    before, after = statistics(metrics(4, 20, 2)), statistics(metrics(6, 30, 3))
    done = between(before, after)["rec_onnx"]
    assert (done.requests, done.rows, done.runs) == (2, 10, 1)
    assert between(before, before) == {}


def test_perf_analyzers_report_gives_the_time_of_each_request_and_of_all() -> None:
    requests = [
        {"timestamp": 1_000_000_000, "response_timestamps": [1_500_000_000]},
        {"timestamp": 1_100_000_000, "response_timestamps": [3_000_000_000]},
    ]
    sample = sample_of(json.dumps({"experiments": [{"requests": requests}]}))
    assert (sample.pages, sample.seconds, sample.latencies) == (2, 2.0, (0.5, 1.9))

    requests[1]["response_timestamps"] = []
    with pytest.raises(BenchmarkError, match="without an answer"):
        sample_of(json.dumps({"experiments": [{"requests": requests}]}))


def accelerated(kind: str, parameters: dict[str, str]) -> dict[str, object]:
    return {"optimization": {"execution_accelerators": {kind: [{"name": "any", "parameters": parameters}]}}}


def test_the_precision_is_read_off_the_models_configuration() -> None:
    assert served_precision({}) == "f32"
    assert served_precision(accelerated("cpu_execution_accelerator", {"INFERENCE_PRECISION_HINT": "bf16"})) == "bf16"
    assert served_precision(accelerated("gpu_execution_accelerator", {"precision_mode": "FP16"})) == "f16"


def test_an_answers_share_is_what_was_under_way_before_it() -> None:
    # Three sent together, answered one a second; a fourth sent when the first is answered, and held up for a second.
    sample = Sample(4, 5.0, latencies=(1, 2, 3, 4), sent=(0, 0, 0, 1))
    assert shares(sample) == pytest.approx([1 * 0.8 / 3, 2 * 0.8 / 3, 3 * 0.8 / 3, 4 * 0.8 / 3])


def test_a_line_through_points_tells_how_straight_they_lie() -> None:
    assert linear([(1, 3), (2, 5), (3, 7)]) == pytest.approx((1, 2, 1))
    assert linear([(1, 1), (10, 10), (100, 5000)])[2] < 0.999
    assert linear([(1, 4), (2, 4), (3, 4)])[2] == 1
