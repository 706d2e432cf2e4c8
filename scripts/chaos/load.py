"""Clients that keep asking, and judge every answer by what the undisturbed server said."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp

from scripts.chaos.account import Outcome, Record
from scripts.chaos.calls import Answer, Case, answer_of

# Seconds. Longer than the server's own limit for one picture, so that who waits so long has been forgotten.
PATIENCE = 75.0
# Seconds that a client waits after anything but a right answer: it would else do little but fail.
_PAUSE = 0.2

Answers = Mapping[Case, Answer]


class Unanswered(Exception):  # noqa: N818 - it reads as what happened
    """There is no answer; `refused` where the connection was not even accepted."""

    def __init__(self, message: str, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


class Load:
    """So many clients, each with a request at a time, until it is stopped."""

    def __init__(self, url: str, answers: Answers, clients: int) -> None:
        """`answers` are the requests to send, and what is right."""
        self.records: list[Record] = []
        self._url = url
        self._answers = answers
        self._clients = clients

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask as long as the context lasts; what is then in hand is waited for."""
        stop = asyncio.Event()
        async with new_session() as session:
            clients = [asyncio.create_task(self._client(session, number, stop)) for number in range(self._clients)]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*clients)

    async def all_at_once(self, number: int) -> list[Record]:
        """So many requests, each on a connection of its own, at the same moment."""
        chosen = itertools.islice(itertools.cycle(self._answers), number)
        async with new_session() as session:
            return await asyncio.gather(*(self._ask(session, case) for case in chosen))

    async def each_at_once(self, number: int) -> None:
        """Every request so many times at the same moment, one after another."""
        async with new_session() as session:
            for case in self._answers:
                self.records += await asyncio.gather(*(self._ask(session, case) for _ in range(number)))

    async def _client(self, session: aiohttp.ClientSession, number: int, stop: asyncio.Event) -> None:
        order = list(self._answers)
        random.Random(number).shuffle(order)  # noqa: S311 - each client its own way, the same each time
        for case in itertools.cycle(order):
            if stop.is_set():
                return
            record = await self._ask(session, case)
            self.records.append(record)
            if record.outcome is not Outcome.RIGHT:
                await asyncio.sleep(_PAUSE)

    async def _ask(self, session: aiohttp.ClientSession, case: Case) -> Record:
        sent = time.monotonic()
        try:
            answer = await ask(session, self._url, case)
        except Unanswered as failure:
            outcome = Outcome.REFUSED if failure.refused else Outcome.LOST
            return Record(sent, time.monotonic(), outcome, f"{case.name}: {failure}")
        ended = time.monotonic()
        right = self._answers[case]
        outcome = judged(answer, right)
        what = answer.error if outcome is not Outcome.WRONG else answer.unlike(right)
        return Record(sent, ended, outcome, "" if outcome is Outcome.RIGHT else f"{case.name}: {answer.status} {what}")


def judged(answer: Answer, right: Answer) -> Outcome:
    """What an answer is worth beside the right one."""
    if (answer.status, answer.essence) == (right.status, right.essence):
        return Outcome.RIGHT
    if answer.status < 400 and answer.error is None:
        return Outcome.WRONG
    return Outcome.ERROR if answer.is_clear_error else Outcome.UNCLEAR


async def undisturbed(url: str, cases: Sequence[Case], clients: int = 4) -> dict[Case, Answer]:
    """What a server that is left alone says to each.

    Raises:
        Unanswered: it says nothing.
    """
    free = asyncio.Semaphore(clients)
    async with new_session() as session:

        async def answer(case: Case) -> Answer:
            async with free:
                return await ask(session, url, case)

        return dict(zip(cases, await asyncio.gather(*map(answer, cases)), strict=True))


async def ask(session: aiohttp.ClientSession, url: str, case: Case) -> Answer:
    """Send a file. Raises `Unanswered`."""
    arguments = case.call.arguments(case.material)
    headers = {**case.call.headers, **arguments.pop("headers", {})}
    try:
        async with session.post(f"{url}{case.call.path}", headers=headers, **arguments) as response:
            return answer_of(response.status, await response.read())
    except aiohttp.ClientConnectorError as error:
        raise Unanswered(str(error), refused=True) from error
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
        raise Unanswered(f"{type(error).__name__} {error}", refused=False) from error


def new_session() -> aiohttp.ClientSession:
    # Connections are kept as long as the server keeps them, as most clients do.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=PATIENCE), trust_env=False
    )
