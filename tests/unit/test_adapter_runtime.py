"""What the networks run on, from Triton's metrics or, where its backend tells none, from their configurations."""

import asyncio

import pytest

from adapter import runtime
from adapter.errors import TritonUnavailableError
from adapter.runtime import Runtime, RuntimeProbe, configured_on, running_on
from adapter.triton import Configuration

HELP = "# HELP ocr_onnxruntime_execution_provider 1\n# TYPE ocr_onnxruntime_execution_provider gauge\n"


def gauge(model: str, provider: str, value: int = 1) -> str:
    labels = f'model="{model}",provider="{provider}",version="1"'
    return f"ocr_onnxruntime_execution_provider{{{labels}}} {value}\n"


def test_the_providers_in_use_are_read_from_the_metrics() -> None:
    metrics = (
        'nv_inference_count{model="det_onnx",version="1"} 7\n'
        + HELP
        + gauge("det_onnx", "OpenVINOExecutionProvider")
        + gauge("rec_onnx", "CPUExecutionProvider")
        + gauge("cls_onnx", "CUDAExecutionProvider", 0)
        + gauge("another", "CUDAExecutionProvider")
    )
    assert running_on(metrics) == ("CPUExecutionProvider", "OpenVINOExecutionProvider")


def test_a_backend_without_the_gauge_tells_nothing() -> None:
    assert running_on('nv_inference_count{model="det_onnx",version="1"} 7\n') == ()


@pytest.mark.parametrize(
    ("on_gpu", "accelerators", "providers"),
    [
        (False, (), ("CPUExecutionProvider",)),
        (False, ("openvino",), ("OpenVINOExecutionProvider",)),
        (True, (), ("CUDAExecutionProvider",)),
        (True, ("tensorrt",), ("TensorrtExecutionProvider",)),
        (True, ("migraphx",), ("MIGraphXExecutionProvider",)),
    ],
)
def test_else_they_are_those_that_the_configurations_name(
    on_gpu: bool, accelerators: tuple[str, ...], providers: tuple[str, ...]
) -> None:
    networks = [Configuration({}, on_gpu, accelerators)] * 3
    assert configured_on(networks) == providers
    assert Runtime("PP-OCRv6_small", providers, ()).gpu is on_gpu


_PARAMETERS = {"default_profile": "PP-OCRv4_mobile", "precision": "fast"}


class FakeTriton:
    """Answers like `Triton`, and counts the questions."""

    def __init__(self, metrics: str | None) -> None:
        self.asked = 0
        self._metrics = metrics

    async def configuration(self, model: str) -> Configuration:
        self.asked += 1
        await asyncio.sleep(0)
        return Configuration(_PARAMETERS if model == "ocr_ensemble" else {}, True, ())

    async def metrics(self) -> str:
        if self._metrics is None:
            raise TritonUnavailableError("no metrics")
        return self._metrics


def test_what_runs_counts_and_not_what_was_configured() -> None:
    triton = FakeTriton(HELP + gauge("det_onnx", "CPUExecutionProvider"))

    async def ask() -> Runtime:
        return await RuntimeProbe(triton).runtime()  # type: ignore[arg-type]

    assert asyncio.run(ask()) == Runtime("PP-OCRv4_mobile", ("CPUExecutionProvider",), ("PP-OCRv4_mobile",), "fast")


def test_without_metrics_the_configuration_is_believed() -> None:
    async def ask() -> Runtime:
        return await RuntimeProbe(FakeTriton(None)).runtime()  # type: ignore[arg-type]

    assert asyncio.run(ask()).gpu


def test_many_at_once_ask_triton_once_and_later_ones_again(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = FakeTriton(None)

    async def ask() -> None:
        probe = RuntimeProbe(triton)  # type: ignore[arg-type]
        await asyncio.gather(*(probe.runtime() for _ in range(20)))
        assert triton.asked == 4
        monkeypatch.setattr(runtime, "_LIFETIME", -1.0)
        probe = RuntimeProbe(triton)  # type: ignore[arg-type]
        await probe.runtime()
        await probe.runtime()
        assert triton.asked == 12

    asyncio.run(ask())
