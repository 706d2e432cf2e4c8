"""What the OCR models run on, as Triton tells it."""

import asyncio
import time
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from adapter.errors import TritonUnavailableError
from adapter.triton import Configuration
from adapter.tritons import Tritons

_ENSEMBLE = "ocr_ensemble"
_NETWORKS = ("det_onnx", "cls_onnx", "rec_onnx")
# The embedded server's onnxruntime backend tells what it runs on by this gauge.
_PROVIDER_METRIC = "ocr_onnxruntime_execution_provider"
# The ensemble tells its profiles by this one.
_PROFILE_METRIC = "ocr_ensemble_profile"
# ONNX Runtime's names of what Triton's configurations call accelerators.
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_GPU_PROVIDERS = frozenset({"TensorrtExecutionProvider", "CUDAExecutionProvider", "MIGraphXExecutionProvider"})

# Seconds for which an answer holds: what Triton runs on changes only when it is started anew.
_LIFETIME = 10.0


@dataclass(frozen=True)
class Runtime:
    """The profile that reads where a request names none, ONNX Runtime's execution providers that the networks run on,
    all profiles that there are, and the precision that the networks compute in (OCR_PRECISION)."""

    default_profile: str
    providers: tuple[str, ...]
    profiles: tuple[str, ...]
    precision: str = "exact"

    @property
    def gpu(self) -> bool:
        """Whether a network runs on a GPU."""
        return not _GPU_PROVIDERS.isdisjoint(self.providers)


class RuntimeProbe:
    """Asks Triton, and keeps the answer for some seconds. Must be made inside the running event loop."""

    def __init__(self, triton: Tritons) -> None:
        self._triton = triton
        self._lock = asyncio.Lock()
        self._known: tuple[float, Runtime] | None = None

    async def runtime(self) -> Runtime:
        """Raises `TritonUnavailableError` when Triton is away, `ModelUnavailableError` when a model is not loaded."""
        async with self._lock:
            if self._known is None or time.monotonic() > self._known[0]:
                self._known = (time.monotonic() + _LIFETIME, await self._ask())
            return self._known[1]

    async def _ask(self) -> Runtime:
        ensemble, *networks = await asyncio.gather(*map(self._triton.configuration, (_ENSEMBLE, *_NETWORKS)))
        try:
            metrics = await self._triton.metrics()
        except TritonUnavailableError:  # of the metrics alone; the models have just been there
            metrics = ""
        providers = running_on(metrics)
        if not providers:
            # NVIDIA's backend has no such gauge, but refuses a model whose accelerators it does not have.
            providers = configured_on(networks)
        default, precision = (ensemble.parameters[name] for name in ("default_profile", "precision"))
        return Runtime(default, providers, loaded_profiles(metrics) or (default,), precision)


def running_on(metrics: str) -> tuple[str, ...]:
    """The execution providers in Triton's metrics (Prometheus' text format); none where the backend tells none."""
    gauges = _gauges(metrics, _PROVIDER_METRIC)
    return tuple(sorted({labels["provider"] for labels in gauges if labels["model"] in _NETWORKS}))


def loaded_profiles(metrics: str) -> tuple[str, ...]:
    """The profiles in Triton's metrics, by name."""
    return tuple(sorted(labels["profile"] for labels in _gauges(metrics, _PROFILE_METRIC)))


def _gauges(metrics: str, name: str) -> list[dict[str, str]]:
    """The labels of those of the gauge that are set."""
    return [
        sample.labels
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == name and sample.value
    ]


def configured_on(networks: list[Configuration]) -> tuple[str, ...]:
    """The execution providers that models run on whose backend has what their configurations name."""
    found = set()
    for network in networks:
        found |= {_PROVIDERS[name] for name in network.accelerators}
        if not network.accelerators:
            found.add("CUDAExecutionProvider" if network.on_gpu else "CPUExecutionProvider")
    return tuple(sorted(found))
