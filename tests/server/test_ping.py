"""Readiness as SageMaker and load balancers ask for it (Triton away or hanging: adapter/test_adapter_outage.py)."""

from __future__ import annotations

import time

import httpx
import pytest

from scripts.launched import Launched


@pytest.mark.parametrize("path", ["/ping", "/sagemaker/ping"])
def test_a_server_whose_models_are_loaded_is_ready_and_says_so_quickly(triton: Launched, path: str) -> None:
    start = time.perf_counter()
    answer = httpx.get(f"{triton.adapter_url}{path}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert time.perf_counter() - start < 2.0
