"""vLLM's engine, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import uuid
from collections.abc import AsyncGenerator, Coroutine, Mapping
from concurrent.futures import Future
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput
    from vllm.v1.metrics.loggers import StatLoggerFactory

    from backends.vllm.contract import Ask

# Seconds that the engine's processes have to end by themselves.
_SHUTDOWN_TIMEOUT = 2.0


class Engine:
    """An engine that runs until it is closed, or until its processes die."""

    def __init__(self, arguments: Mapping[str, Any], stat_logger: StatLoggerFactory) -> None:
        """Start the engine, which takes as long as it takes to load the weights.

        Args:
            arguments: those of vLLM's `AsyncEngineArgs`.
            stat_logger: makes what the engine reports its statistics to.

        Raises whatever vLLM raises.
        """
        # Not by way of `offspring`: it has to outlive the engine, to put away what that leaves.
        resource_tracker.ensure_running()
        multiprocessing.set_executable(str(Path(__file__).with_name("offspring")))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self._llm = self.submit(self._start(arguments, stat_logger)).result()
        except BaseException:
            self._end_loop()
            raise

    @property
    def dead(self) -> bool:
        """Whether its processes have ended unasked: it will never answer again."""
        return self._llm.errored

    @property
    def idle(self) -> bool:
        """Whether it has no request in hand."""
        return self._llm.get_num_unfinished_requests() == 0

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine on the engine's event loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def generate(self, ask: Ask) -> AsyncGenerator[RequestOutput, None]:
        """What the engine answers; on its event loop. To close the generator, or to cancel its task, is to abort."""
        prompt: dict[str, Any] = {"prompt": ask.prompt}
        if ask.images:
            prompt["multi_modal_data"] = {"image": list(ask.images)}
        async for output in self._llm.generate(prompt, ask.sampling, uuid.uuid4().hex):
            yield output

    def close(self) -> None:
        """End the engine and its processes, whatever it is at."""
        self.submit(self._stop()).result()
        self._end_loop()

    async def _start(self, arguments: Mapping[str, Any], stat_logger: StatLoggerFactory) -> AsyncLLM:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[stat_logger])

    async def _stop(self) -> None:
        self._llm.shutdown(timeout=_SHUTDOWN_TIMEOUT)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
