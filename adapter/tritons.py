"""Triton servers with the same models: one, or several that take turns and stand in for each other."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TypeVar

import numpy as np

from adapter.errors import DeadlineExceededError, ModelUnavailableError, TritonUnavailableError
from adapter.triton import Configuration, Triton

# Who fails so has not answered, and reading a picture twice does no harm.
_AWAY = (TritonUnavailableError, ModelUnavailableError)
# How many servers one request may be sent to where they die over it; each of a longer list is tried all the same, since
# one that is known to be away takes no time. More than one attempt for one server: its name may have many addresses.
_ATTEMPTS = 3

T = TypeVar("T")
Outputs = dict[str, np.ndarray]


class Tritons:
    """Calls go to the servers in turn, and from one that is away to the next.

    Away is a server to which no connection can be made, whose connection dies before it has answered, which is being
    stopped, or which has the model not loaded. Methods raise what those of `Triton` raise.
    """

    def __init__(self, servers: Sequence[Triton], timeout: float) -> None:
        """`timeout`: seconds that `infer` may take, whatever it meets."""
        self._servers = servers
        self._timeout = timeout
        self._first = itertools.cycle(range(len(servers)))

    async def close(self) -> None:
        for server in self._servers:
            await server.close()

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray]) -> Outputs:
        """Run `model` once."""
        deadline = _Deadline(self._timeout)
        return await self._ask(lambda server: server.infer(model, inputs, deadline.remaining()))

    async def stream(
        self, model: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> AsyncGenerator[Outputs, None]:
        """Run a decoupled model once, within `timeout` seconds, and give each of its responses as it comes.

        A stream that has begun is not begun again: who reads it has had a part, and the next would be another.
        """
        deadline = _Deadline(timeout)

        async def begin(server: Triton) -> tuple[AsyncGenerator[Outputs, None], Outputs | None]:
            responses = server.stream(model, inputs, deadline.remaining())
            return responses, await anext(responses, None)

        responses, first = await self._ask(begin)
        async with aclosing(responses):
            if first is not None:
                yield first
            async for response in responses:
                yield response

    async def unload(self, model: str, timeout: float) -> None:
        """Unload `model` from every server that is there."""
        await self._ask_all(lambda server: server.unload(model, timeout))

    async def load(self, model: str, timeout: float) -> None:
        """Load `model` on every server that is there, within `timeout` seconds."""
        await self._ask_all(lambda server: server.load(model, timeout))

    async def ready(self, models: Collection[str], timeout: float) -> bool:
        """Whether a server and every one of `models` on it are ready; answers within `timeout` seconds."""
        questions = [asyncio.ensure_future(server.ready(models, timeout)) for server in self._servers]
        try:
            for answer in asyncio.as_completed(questions):
                if await answer:
                    return True
            return False
        finally:
            for question in questions:
                question.cancel()

    async def configuration(self, model: str) -> Configuration:
        """The configuration that `model` runs with."""
        return await self._ask(lambda server: server.configuration(model))

    async def metrics(self) -> str:
        """The metrics of the server whose turn it is."""
        return await self._servers[next(self._first)].metrics()

    async def _ask(self, ask: Callable[[Triton], Awaitable[T]]) -> T:
        """The answer of the first server, from the one whose turn it is, that is not away."""
        first = next(self._first)
        turn = itertools.islice(itertools.cycle(self._servers), first, first + max(_ATTEMPTS, len(self._servers)))
        *others, last = turn
        for server in others:
            with suppress(*_AWAY):
                return await ask(server)
        return await ask(last)

    async def _ask_all(self, ask: Callable[[Triton], Awaitable[None]]) -> None:
        """Ask every server; while one is there it does not matter who is away and will start afresh."""
        outcomes = await asyncio.gather(*map(ask, self._servers), return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        decisive = [failure for failure in failures if not isinstance(failure, TritonUnavailableError)]
        if decisive or len(failures) == len(self._servers):
            raise (decisive or failures)[0]


class _Deadline:
    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds. Raises `DeadlineExceededError` when there are none."""
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceededError(f"the inference server did not answer within {self._timeout:g} s")
        return remaining
