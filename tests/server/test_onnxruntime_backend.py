"""The embedded onnxruntime backend in a real Triton, on networks of a few nodes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper, save
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from scripts.launch import triton as embedded
from scripts.launch.ports import Listeners
from scripts.launch.server import ROOT
from scripts.launched import eventually

TOGETHER = 4  # requests that the dynamic batcher waits for
ROWS = 8  # of the table
METRIC = "ocr_onnxruntime_execution_provider"

# Waits longer than a busy machine takes to send TOGETHER requests.
GATHERING = f"dynamic_batching {{ preferred_batch_size: [ {TOGETHER} ] max_queue_delay_microseconds: 2000000 }}"
INPUTS = 'input [ { name: "place" data_type: TYPE_INT32 dims: [ -1 ] } ]'
OUTPUTS = """output [
  { name: "value" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "double" data_type: TYPE_FP32 dims: [ -1 ] }
]"""


def openvino(**parameters: str) -> str:
    entries = " ".join(f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
    accelerator = f'[ {{ name: "openvino" {entries} }} ]'
    return f"optimization {{ execution_accelerators {{ cpu_execution_accelerator {accelerator} }} }}"


@dataclass(frozen=True)
class Model:
    """A model of the table: `value` = table[place], `double` = twice that, for INT32 `place` [batch, n]."""

    name: str
    extra: str = ""
    versions: tuple[int, ...] = (1,)
    outputs: str = OUTPUTS


MODELS = (
    Model("alone"),
    Model("gathering", GATHERING),
    Model("on_openvino", openvino(), versions=(1, 2)),
    Model("falls_back", openvino(load_config="no JSON")),
    Model("misdeclared", outputs=OUTPUTS.replace("FP32", "FP64")),
    Model("misconfigured", 'parameters { key: "intra_op_thread_count" value: { string_value: "many" } }'),
)


def write_models(repository: Path) -> None:
    for model in MODELS:
        folder = repository / model.name
        for version in model.versions:
            (folder / str(version)).mkdir(parents=True)
            write_table(folder / str(version) / "model.onnx")
        (folder / "config.pbtxt").write_text(
            f'backend: "onnxruntime" max_batch_size: {TOGETHER} version_policy {{ all {{ }} }}\n'
            f"instance_group [ {{ count: 1 kind: KIND_CPU }} ]\n{INPUTS}\n{model.outputs}\n{model.extra}\n"
        )


def write_table(path: Path) -> None:
    """A place outside the table is an error of the run, whatever else the batch holds."""
    nodes: list[NodeProto] = [
        helper.make_node("Gather", ["table", "place"], ["value"]),
        helper.make_node("Add", ["value", "value"], ["double"]),
    ]
    graph = helper.make_graph(
        nodes,
        "table",
        [helper.make_tensor_value_info("place", TensorProto.INT32, ["batch", "n"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "n"]) for name in ("value", "double")],
        [numpy_helper.from_array(np.arange(ROWS, dtype=np.float32) * 10, "table")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@dataclass(frozen=True)
class Counts:
    """Calls of the backend, and requests that it has answered, be it with an error."""

    executions: int
    requests: int

    def plus(self, executions: int, requests: int) -> Counts:
        return Counts(self.executions + executions, self.requests + requests)


@dataclass(frozen=True)
class Tables:
    """A server of the models above, and what it has printed."""

    client: grpc.InferenceServerClient
    metrics_url: str
    log: Path

    def ask(self, model: str, places: list[list[int]], version: str = "", outputs: tuple[str, ...] = ()) -> Any:
        tensor = grpc.InferInput("place", [len(places), len(places[0])], "INT32")
        tensor.set_data_from_numpy(np.array(places, np.int32))
        wanted = [grpc.InferRequestedOutput(name) for name in outputs] or None
        return self.client.infer(model, [tensor], model_version=version, outputs=wanted, client_timeout=60)

    def ask_together(self, model: str, requests: list[list[list[int]]]) -> list[Future[Any]]:
        """Ends when all are answered."""
        with ThreadPoolExecutor(len(requests)) as pool:
            return [pool.submit(self.ask, model, places) for places in requests]

    def counted(self, model: str) -> Counts:
        """What Triton has counted so far; it answers a request first and counts it then."""
        (statistics,) = self.client.get_inference_statistics(model).model_stats
        return Counts(statistics.execution_count, statistics.inference_stats.success.count)


@contextmanager
def serving(repository: Path, folder: Path) -> Iterator[Tables]:
    backends, log, listeners = folder / "backends", folder / "log", Listeners.free()
    triton = embedded.installation(os.environ, backends, ROOT / "backends")
    command = [
        str(triton.server),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--http-address={listeners.host}",
        f"--grpc-address={listeners.host}",
        f"--http-port={listeners.http}",
        f"--grpc-port={listeners.grpc}",
        f"--metrics-port={listeners.metrics}",
        "--disable-auto-complete-config",
        "--exit-on-error=false",
        "--exit-timeout-secs=2",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=triton.environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        with grpc.InferenceServerClient(f"{listeners.host}:{listeners.grpc}") as client:
            started = eventually(lambda: answers(client.is_server_live) or process.poll() is not None, 60)
            assert started and process.poll() is None, log.read_text()
            yield Tables(client, f"http://{listeners.host}:{listeners.metrics}/metrics", log)
    finally:
        process.terminate()
        process.wait()


def answers(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except InferenceServerException:
        return False


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    repository = tmp_path_factory.mktemp("models")
    write_models(repository)
    with serving(repository, tmp_path_factory.mktemp("tables")) as server:
        yield server


def providers(tables: Tables) -> set[tuple[str, str, str]]:
    """Model, version and provider, as the metrics have them."""
    found = set()
    for line in httpx.get(tables.metrics_url).text.splitlines():
        if line.startswith(METRIC):
            labels, _, value = line.removeprefix(METRIC).rpartition(" ")
            named = dict(pair.split("=") for pair in labels.strip("{}").replace('"', "").split(","))
            assert float(value) == 1
            found.add((named["model"], named["version"], named["provider"]))
    return found


def test_a_request_is_answered_with_all_outputs(tables: Tables) -> None:
    answer = tables.ask("alone", [[1, 2], [3, 4]])
    assert answer.as_numpy("value").tolist() == [[10, 20], [30, 40]]
    assert answer.as_numpy("double").tolist() == [[20, 40], [60, 80]]


def test_a_request_gets_the_outputs_that_it_asks_for(tables: Tables) -> None:
    answer = tables.ask("alone", [[1]], outputs=("double",))
    assert answer.as_numpy("double").tolist() == [[20]]
    assert answer.as_numpy("value") is None


def test_requests_of_one_shape_share_a_run_and_each_gets_its_own_rows(tables: Tables) -> None:
    before = tables.counted("gathering")
    answers = tables.ask_together("gathering", [[[place]] for place in range(TOGETHER)])
    assert [answer.result().as_numpy("value").tolist() for answer in answers] == [[[0]], [[10]], [[20]], [[30]]]
    assert eventually(lambda: tables.counted("gathering") == before.plus(1, TOGETHER), 5)


def test_requests_of_several_rows_share_a_run(tables: Tables) -> None:
    before = tables.counted("gathering")
    answers = tables.ask_together("gathering", [[[1], [2], [3]], [[4]]])
    assert [answer.result().as_numpy("value").tolist() for answer in answers] == [[[10], [20], [30]], [[40]]]
    assert eventually(lambda: tables.counted("gathering") == before.plus(1, 2), 5)


def test_a_bad_request_fails_alone(tables: Tables) -> None:
    before = tables.counted("gathering")
    good_and_bad = tables.ask_together("gathering", [[[1]], [[ROWS]], [[2]], [[3]]])
    error = good_and_bad.pop(1).exception()
    assert isinstance(error, InferenceServerException)
    assert "gathering version 1 cannot run place [1, 1]" in str(error)
    assert [answer.result().as_numpy("value").tolist() for answer in good_and_bad] == [[[10]], [[20]], [[30]]]
    assert eventually(lambda: tables.counted("gathering") == before.plus(1, TOGETHER), 5)


def test_a_batch_larger_than_the_model_takes_is_refused(tables: Tables) -> None:
    with pytest.raises(InferenceServerException, match=f"must be <= {TOGETHER}"):
        tables.ask("alone", [[1]] * (TOGETHER + 1))


def test_a_cancelled_request_is_not_computed(tables: Tables) -> None:
    before = tables.counted("gathering")
    tensor = grpc.InferInput("place", [1, 1], "INT32")
    tensor.set_data_from_numpy(np.array([[1]], np.int32))
    outcomes: list[Any] = []
    call = tables.client.async_infer("gathering", [tensor], lambda result, error: outcomes.append(error or result))
    time.sleep(0.2)  # it waits for others
    call.cancel()
    assert eventually(lambda: bool(outcomes), 10)
    assert "cancelled" in str(outcomes[0]).lower()
    time.sleep(2.5)  # longer than it would have waited
    assert tables.counted("gathering") == before


def test_what_each_version_runs_on_can_be_asked_for(tables: Tables) -> None:
    assert providers(tables) == {
        ("alone", "1", "CPUExecutionProvider"),
        ("gathering", "1", "CPUExecutionProvider"),
        ("on_openvino", "1", "OpenVINOExecutionProvider"),
        ("on_openvino", "2", "OpenVINOExecutionProvider"),
        ("falls_back", "1", "CPUExecutionProvider"),
    }
    log = tables.log.read_text()
    assert "on_openvino version 2 runs on OpenVINOExecutionProvider" in log


def test_a_provider_that_cannot_be_had_is_a_warning_in_the_log_and_the_model_is_served(tables: Tables) -> None:
    assert tables.ask("falls_back", [[1]]).as_numpy("value").tolist() == [[10]]
    (warning,) = [line for line in tables.log.read_text().splitlines() if "could not be started" in line]
    assert warning.startswith("W")
    assert "falls_back version 1: OpenVINOExecutionProvider is configured" in warning


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("misdeclared", "output value is TYPE_FP64, in the network tensor(float)"),
        ("misconfigured", "intra_op_thread_count must be a whole number, not 'many'"),
    ],
)
def test_a_model_whose_configuration_is_wrong_is_not_served_and_the_log_says_why(
    tables: Tables, model: str, reason: str
) -> None:
    assert not tables.client.is_model_ready(model)
    assert reason in tables.log.read_text()


def test_the_other_version_answers_too(tables: Tables) -> None:
    assert tables.ask("on_openvino", [[5]], version="2").as_numpy("value").tolist() == [[50]]
