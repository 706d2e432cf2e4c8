"""The vision-language models: loaded once Triton runs, so that a fault of theirs is not the OCR models'."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.launch.supervisor import Restarts
from scripts.launch.triton import ADMIN_HEADER

# Seconds. Weights come from a slow disk, or from a hub, in some minutes.
_LOAD_TIMEOUT = 1800.0
_INDEX_TIMEOUT = 5.0
_INTERVAL = 1.0

# What a Python model raised while it was loaded, in what Triton says of that; where it was raised comes behind it.
_RAISED = re.compile(r"UNAVAILABLE state: (?:\w+: )?(.*?)\s*(?:\n\nAt:|;?\s*$)", re.DOTALL)

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LoadError(Exception):
    """A model cannot be loaded; the message says why."""


@dataclass(frozen=True)
class Loadable:
    """A model to load.

    Attributes:
        name: its name.
        weights: where they are, as the setting has it.
        parameters: makes what the load calls are given; called once, and may raise `LoadError`.
        again: whether it is loaded again after it was unloaded: one that unloads itself when it is broken. (Not so one
            that others unload and load.)
    """

    name: str
    weights: str
    parameters: Callable[[], Mapping[str, str]] = dict
    again: bool = False


class Loader:
    """Loads a model, and loads it again whenever Triton has lost it.

    Attributes:
        settled: whether it has been loaded for the first time, or could not be.
    """

    def __init__(self, triton: str, key: str, model: Loadable, say: Callable[[str], None]) -> None:
        """`triton`: base URL of its HTTP protocol; `key`: the value of `ADMIN_HEADER`; `say` takes the messages."""
        self.settled = False
        self._triton = triton
        self._key = key
        self._model = model
        self._say = say
        self._restarts = Restarts()
        self._was_loaded = False

    async def run(self) -> None:
        """Keep it loaded until cancelled.

        A model that cannot be loaded is left alone until Triton is started again; one that could be before is tried a
        few times.
        """
        parameters: Mapping[str, str] | None = None
        try:
            parameters = await asyncio.to_thread(self._model.parameters)
        except LoadError as error:
            self._do_without(error)
        while True:
            if parameters is not None and await asyncio.to_thread(self._is_missing):
                await self._load(parameters)
            await asyncio.sleep(_INTERVAL)

    async def _load(self, parameters: Mapping[str, str]) -> None:
        self._say(f"Loading {self._model.name} from {self._model.weights}.")
        while True:
            try:
                if await asyncio.to_thread(self._request_load, parameters):
                    self._was_loaded = self.settled = True
                return
            except LoadError as error:
                now = asyncio.get_running_loop().time()
                delay = self._restarts.delay(now) if self._was_loaded else None
                if delay is None:
                    self._do_without(error)
                    return
                self._say(f"{error}; it is tried again in {delay:g} s")
            await asyncio.sleep(delay)

    def _do_without(self, error: LoadError) -> None:
        self._say(f"{error}\nThe server goes on without {self._model.name}.")
        self.settled = True

    def _is_missing(self) -> bool:
        """Whether Triton is there and has never been asked for the model, or has it no longer."""
        try:
            index: list[dict[str, str]] = json.loads(self._post("index", {}, _INDEX_TIMEOUT))
        except (OSError, ValueError):
            return False
        entry = next((entry for entry in index if entry["name"] == self._model.name), {})
        return not entry.get("state") or (self._model.again and entry.get("reason") == "unloaded")

    def _request_load(self, parameters: Mapping[str, str]) -> bool:
        """Whether it is loaded now: it is not where Triton ended meanwhile, which is for its supervisor to judge."""
        model = self._model.name
        try:
            self._post(f"models/{model}/load", {"parameters": parameters} if parameters else {}, _LOAD_TIMEOUT)
        except urllib.error.HTTPError as error:
            raise LoadError(f"{model} cannot be loaded: {_reason(error)}") from error
        except TimeoutError as error:
            raise LoadError(f"{model} was not loaded within {_LOAD_TIMEOUT:g} s") from error
        except OSError:
            return False
        return True

    def _post(self, path: str, body: Mapping[str, Any], timeout: float) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - http, to a server of our own
            f"{self._triton}/v2/repository/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", ADMIN_HEADER: self._key},
        )
        with _OPENER.open(request, timeout=timeout) as answer:
            return bytes(answer.read())


def _reason(error: urllib.error.HTTPError) -> str:
    body = error.read().decode(errors="replace")
    try:
        message = str(json.loads(body)["error"])
    except (ValueError, KeyError):
        message = body or str(error.reason)
    raised = _RAISED.search(message)
    return raised[1] if raised else message
