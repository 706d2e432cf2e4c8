"""The dashboard asks for metrics that a running server has, by labels that they have."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import promql_parser
import pytest

from scripts.client import upload
from scripts.launch.server import ROOT
from scripts.launched import Launched

PANELS = json.loads((ROOT / "deploy" / "monitoring" / "ocr.json").read_text(encoding="utf-8"))["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
# Labels that Prometheus adds itself.
ADDED = {"instance", "job"}
# What Triton exposes where there is a GPU (docs/user_guide/metrics.md of triton-inference-server/server).
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage"}


@pytest.fixture(scope="module")
def labels(triton: Launched) -> dict[str, set[str]]:
    """Of every metric that adapter and Triton have after a request, the names of its labels."""
    upload(triton.adapter_url, ROOT / "docs" / "example.png")
    found: dict[str, set[str]] = {}
    for url in (f"{triton.adapter_url}/metrics", triton.metrics_url):
        # Not by a parser that gives counters the names that they ought to have.
        for name, names_and_values in re.findall(r"^(\w+)(?:{(.*)})? \S+$", httpx.get(url).text, re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', names_and_values))
    return found


def selectors(node: Any, by: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """The metrics that an expression names, each with the labels that it is to have."""
    if isinstance(node, promql_parser.VectorSelector):
        assert node.name, "a selector of this dashboard names its metric"
        yield node.name, by | {matcher.name for matcher in node.matchers.matchers}
        return
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
        by |= frozenset(node.modifier.labels)
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if hasattr(node, name):
            yield from selectors(getattr(node, name), by)
    for argument in getattr(node, "args", ()):
        yield from selectors(argument, by)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_its_metrics_and_their_labels(query: str, labels: dict[str, set[str]]) -> None:
    named = list(selectors(promql_parser.parse(query.replace("$__rate_interval", "5m"))))
    assert named
    for metric, asked in named:
        assert metric in labels or metric in GPU_METRICS
        assert asked <= labels.get(metric, set()) | ADDED


def test_the_dashboard_shows_what_is_to_be_watched() -> None:
    metrics = {
        metric
        for query in QUERIES
        for metric, _ in selectors(promql_parser.parse(query.replace("$__rate_interval", "5m")))
    }
    assert {
        "ocr_requests_total",
        "ocr_request_seconds_bucket",
        "nv_inference_queue_duration_us",
        "nv_inference_exec_count",
        "nv_gpu_utilization",
    } <= metrics
