"""The adapter's streams from a real Triton, very many of them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from adapter.errors import OutOfMemoryError
from adapter.triton import Triton
from adapter.vlm import Sampling, VllmContract

CONTRACT = VllmContract("dots_vllm")
CALLERS = 6


def asked(vlms: Any, *tokens: str, **orders: Any) -> dict[str, Any]:
    """What asks the model for these tokens."""
    return CONTRACT.inputs("", vlms.order(*tokens, **orders).picture((1, 1)), Sampling(9, 0.0, 1.0))


def very_often(vlms: Any, streams: int, call: Callable[[Triton, int], Awaitable[int]]) -> list[list[int]]:
    """What the callers get, each of whom calls so many times, with a number that is one more each time."""

    async def caller(number: int) -> list[int]:
        triton = Triton(vlms.grpc, 5.0, "")
        try:
            return [await call(triton, number + stream) for stream in range(streams)]
        finally:
            await triton.close()

    async def callers() -> list[list[int]]:
        return await asyncio.gather(*map(caller, range(CALLERS)))

    return asyncio.run(callers())


def test_very_many_failures_leave_triton_running_and_their_model_free_to_go(vlms: Any) -> None:
    inputs = [asked(vlms, *"abc"[:count], error="[out_of_memory] too much") for count in range(4)]

    async def fail(triton: Triton, number: int) -> int:
        answers = 0
        with pytest.raises(OutOfMemoryError, match="too much"):
            async for _ in triton.stream(CONTRACT.model, inputs[number % len(inputs)], 20.0):
                answers += 1
        return answers

    got = very_often(vlms, 300, fail)
    assert got == [[(number + stream) % 4 for stream in range(300)] for number in range(CALLERS)]
    with vlms.without(CONTRACT.model):
        pass


def test_very_many_who_leave_in_the_middle_leave_triton_running_and_the_model_free_to_go(vlms: Any) -> None:
    inputs = asked(vlms, *"abcdefgh", delay=0.004)

    async def leave(triton: Triton, number: int) -> int:
        async with aclosing(triton.stream(CONTRACT.model, inputs, 20.0)) as answers:
            for _ in range(1 + number % 7):
                await anext(answers)
        return number % 7

    got = very_often(vlms, 100, leave)
    assert got == [[(number + stream) % 7 for stream in range(100)] for number in range(CALLERS)]
    with vlms.without(CONTRACT.model):
        pass
