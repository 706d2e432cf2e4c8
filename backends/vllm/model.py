"""NVIDIA's vLLM backend for a server that has none: runs every model with `backend: "vllm"`, by the same contract."""

from __future__ import annotations

import asyncio
import json
import locale
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import triton_python_backend_utils as pb_utils

# The stub starts in the C locale, and so would the engine's processes.
locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
os.environ["LC_CTYPE"] = "C.UTF-8"
# Threads run here already: a forked process would inherit their locks as they are.
os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
# Warnings are for those who choose vLLM's options; what cannot be done is an error, here as there.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ.setdefault("TORCH_LOGS", "-all")
# So set, malloc gives all memory back at once; PyTorch on a CPU would take and give it back for every tensor.
for _threshold in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.pop(_threshold, None)
warnings.simplefilter("ignore")
# For the engine's processes: the stub is isolated from PYTHON... in the environment, and they are as it is.
sys.warnoptions.append("ignore")

from vllm.exceptions import VLLMClientError  # noqa: E402
from vllm.v1.engine.exceptions import EngineDeadError  # noqa: E402

if TYPE_CHECKING:
    from backends.vllm import contract, engine, metrics
else:  # Triton puts this file's folder, not the project's root, on the path
    import contract
    import engine
    import metrics

# Seconds between two looks at who has left, at what the engine has done, and at whether it lives.
_INTERVAL = 0.1
# Seconds in which Triton unloads a model that nobody holds fast.
_UNLOAD_TIMEOUT = 5.0


class TritonPythonModel:
    """A model: one engine, and everybody's requests in its batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine with the arguments of the version's model.json."""
        self._name = args["model_name"]
        arguments = json.loads((Path(pb_utils.get_model_dir()) / "model.json").read_text())
        self._metrics = metrics.Metrics({"model": args["model_name"], "version": args["model_version"]})
        # Talking to Triton takes a moment: the engine's thread must not wait, and what is said must stay in order.
        self._talk = ThreadPoolExecutor(1, thread_name_prefix="talk")
        self._answers: dict[asyncio.Task[None], _Answer] = {}
        try:
            self._engine = engine.Engine(arguments, self._metrics)
        except BaseException:
            self._metrics.close()
            raise
        self._engine.submit(self._keep_house()).add_done_callback(self._house_left)

    def execute(self, requests: Sequence[Any]) -> None:
        """Begin to answer; the answers are sent as they come."""
        for request in requests:
            # The tensors' memory is Triton's, and goes with the request.
            tensors = {tensor.name(): tensor.as_numpy().copy() for tensor in request.inputs()}
            answer = _Answer(request.get_response_sender(), self._talk)
            self._engine.submit(self._begin(answer, tensors, request.parameters()))

    def finalize(self) -> None:
        """End the engine. Triton has seen every request off before."""
        self._engine.close()
        self._talk.shutdown()
        self._metrics.close()

    async def _begin(self, answer: _Answer, tensors: Mapping[str, np.ndarray], parameters: str) -> None:
        task = asyncio.create_task(self._answer(answer, tensors, parameters))
        self._answers[task] = answer
        task.add_done_callback(self._answers.pop)

    async def _answer(self, answer: _Answer, tensors: Mapping[str, np.ndarray], parameters: str) -> None:
        try:
            ask = await asyncio.to_thread(contract.Ask.from_tensors, tensors, parameters)
            async with aclosing(self._engine.generate(ask)) as outputs:
                async for output in outputs:
                    await answer.send(ask.answer(output), output.finished)
        except asyncio.CancelledError:
            await answer.fail("the request was cancelled", pb_utils.TritonError.CANCELLED)
        except (contract.ContractError, VLLMClientError) as error:
            await answer.fail(f"[invalid_argument] {error}", pb_utils.TritonError.INVALID_ARG)
        except EngineDeadError:
            await answer.fail(
                f"the model {self._name!r} is not ready: its engine has died", pb_utils.TritonError.UNAVAILABLE
            )
        except Exception as error:
            cause = error.__cause__ or error
            pb_utils.Logger.log_error(f"{self._name}: {type(cause).__name__}: {cause}")
            await answer.fail(f"the engine failed: {type(cause).__name__}: {cause}", pb_utils.TritonError.INTERNAL)

    async def _keep_house(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._engine.dead:
            await asyncio.sleep(_INTERVAL)
            for task, answer in list(self._answers.items()):
                if await answer.unwanted():
                    task.cancel()
            if self._engine.idle:
                self._metrics.rest()
            await loop.run_in_executor(self._talk, self._metrics.publish)
        pb_utils.Logger.log_error(f"{self._name}: the engine's processes have ended, so the model is unloaded")
        await asyncio.to_thread(pb_utils.unload_model, self._name)
        # Unloaded, the engine is closed, and this ends here.
        await asyncio.sleep(_UNLOAD_TIMEOUT)
        # Triton (2.51) keeps a request, and the request its model, until the gRPC stream ends that it came by: of a
        # client that leaves its stream open nobody can say when. Without this process Triton is started anew.
        pb_utils.Logger.log_error(f"{self._name}: a stream is open that keeps it from being unloaded: its process ends")
        os._exit(1)

    def _house_left(self, keeping: Future[None]) -> None:
        if not keeping.cancelled() and (error := keeping.exception()):
            pb_utils.Logger.log_error(f"{self._name}: cancellations go unseen: {type(error).__name__}: {error}")


class _Answer:
    """The way back to who asked."""

    def __init__(self, sender: Any, talk: ThreadPoolExecutor) -> None:
        self._sender = sender
        self._talk = talk
        self._finished = False

    async def send(self, tensors: Mapping[str, np.ndarray], final: bool) -> None:
        """Send a response, the last one or not."""
        response = pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in tensors.items()])
        await self._in_turn(self._send, response, final)

    async def fail(self, message: str, code: int) -> None:
        """Send an error as the last response."""
        response = pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
        await self._in_turn(self._send, response, True)

    async def unwanted(self) -> bool:
        """Whether who asked has left before the last response."""
        return await self._in_turn(lambda: not self._finished and self._sender.is_cancelled())

    async def _in_turn(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._talk, call, *arguments)

    def _send(self, response: Any, final: bool) -> None:
        # Where the request was cancelled while its last response was on its way.
        if self._finished:
            return
        self._finished = final
        self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0)
