"""The comparison: this server, its peers and the bare runtime, in the same rounds, on the same pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from scripts.benchmark import turns
from scripts.benchmark.contest import Contestant, Results, Turn, hold
from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.ours import Configuration, OurServer, serving, upload_endpoint
from scripts.benchmark.peers.catalogue import IN_PROCESS, RapidocrApi
from scripts.benchmark.perf_analyzer import NAME as ALONE
from scripts.benchmark.perf_analyzer import PROTOCOLS, prepare
from scripts.benchmark.report import Comparison
from scripts.benchmark.turns import LIMIT, Material
from scripts.launch.repository import has_bfloat16
from scripts.weights.errors import WeightsError

T = TypeVar("T")

HTTP, IN_PROCESS_PART, BARE, TRITON = "http", "inprocess", "limit", "triton"
PARTS = (HTTP, IN_PROCESS_PART, BARE, TRITON)
# Triton alone is asked by as many clients as fit these; more tell nothing new.
_TRITON_CLIENTS = 8


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes:
        parts: of PARTS.
        profiles: by name.
        configurations: of this server.
        clients: numbers of clients over HTTP.
        rounds: how often each has its turn.
        peers: whether others than this server take part.
        server: base URL of a server of ours that runs already, and takes the place of the configurations.
    """

    parts: Sequence[str]
    profiles: Sequence[str]
    configurations: Sequence[Configuration]
    clients: Sequence[int]
    rounds: int
    peers: bool = True
    server: str | None = None


def compare(plan: Plan, material: Material) -> Results:
    """Start what stays running, hold the rounds, and stop it all."""
    with ExitStack() as stack:
        field = _Field(plan, material, stack)
        field.enter()
        results = hold(field.turns, plan.rounds)
    return replace(results, failures={**field.failed, **results.failures}, absent=field.absent)


def comparisons(results: Results) -> list[Comparison]:
    """Each of ours with everyone who reads with the same weights and is asked in a comparable way.

    With those that could be had in either precision, it is compared in the same one only.
    """
    ours = [contestant for contestant in results.series if turns.is_ours(contestant)]
    others = [contestant for contestant in results.series if not turns.is_ours(contestant)]
    return [Comparison(one, other) for one in ours for other in others if _comparable(one, other)]


def _comparable(one: Contestant, other: Contestant) -> bool:
    if one.profile != other.profile:
        return False
    if other.name.startswith((LIMIT, ALONE)) and turns.mode(one) != turns.mode(other):
        return False
    if (other.name.startswith((LIMIT, ALONE)) or "OpenVINO" in other.name) and one.precision != other.precision:
        return False
    if other.name.startswith(LIMIT):
        return "caller" not in one.way
    return one.way.partition(", ")[2] == other.way.partition(", ")[2]


class _Field:
    """Everyone that takes part."""

    def __init__(self, plan: Plan, material: Material, stack: ExitStack) -> None:
        self.turns: list[Turn] = []
        self.absent: dict[Contestant, str] = {}
        self.failed: dict[Contestant, list[str]] = {}
        self._plan = plan
        self._material = material
        self._stack = stack

    def enter(self) -> None:
        if self._plan.server:
            self._enter_running(self._plan.server)
        else:
            for configuration in self._plan.configurations:
                self._enter_ours(configuration)
        for profile in self._plan.profiles if self._plan.peers else ():
            if HTTP in self._plan.parts:
                self._enter_rapidocr_api(profile)
            if IN_PROCESS_PART in self._plan.parts:
                self._enter_in_process(profile)

    def _enter_running(self, url: str) -> None:
        for profile in self._plan.profiles:
            for clients in self._plan.clients:
                contestant = Contestant(f"{turns.NAME} at {url}", profile, "as it runs", turns.way(clients))
                self.turns.append(turns.over_http(contestant, upload_endpoint(url, profile), self._material, clients))

    def _enter_ours(self, configuration: Configuration) -> None:
        unknown = Contestant(f"{turns.NAME}, {configuration}", "every profile", "?", "every way")
        server = self._try([unknown], lambda: self._stack.enter_context(serving(configuration)))
        if server is None:
            return
        for profile in self._plan.profiles:
            ours = self._try([unknown], partial(list[Turn], self._ways_of_ours(server, profile))) or []
            known = {contestant for turn in self.turns for contestant in turn.contestants}
            if known & {contestant for turn in ours for contestant in turn.contestants}:
                print(f"{configuration} is what has been started before; left out.", file=sys.stderr)
                return
            self.turns.extend(ours)

    def _ways_of_ours(self, server: OurServer, profile: str) -> Iterator[Turn]:
        precision = server.precision(profile)
        name, alone = (turns.named(base, server.configuration) for base in (turns.NAME, ALONE))
        if self._plan.parts != [IN_PROCESS_PART]:
            for clients in self._plan.clients:
                contestant = Contestant(name, profile, precision, turns.way(clients))
                yield turns.over_http(contestant, server.endpoint(profile), self._material, clients)
        if IN_PROCESS_PART in self._plan.parts:
            yield turns.our_fresh(server.configuration, profile, precision, self._material)
        if BARE in self._plan.parts:
            yield turns.limit(server, profile, precision, self._material)
        if TRITON in self._plan.parts:
            yield from self._triton_alone(alone, server, profile, precision)

    def _triton_alone(self, name: str, server: OurServer, profile: str, precision: str) -> Iterator[Turn]:
        for clients in (number for number in self._plan.clients if number <= _TRITON_CLIENTS):
            for protocol in PROTOCOLS:
                contestant = Contestant(name, profile, precision, turns.way(clients, protocol.name))
                if self._try([contestant], prepare):
                    yield turns.by_perf_analyzer(contestant, server, protocol, self._material, clients)
            contestant = Contestant(name, profile, precision, turns.way(clients, "gRPC and shared memory"))
            yield turns.by_shared_memory(contestant, server, self._material, clients)

    def _enter_rapidocr_api(self, profile: str) -> None:
        peer = RapidocrApi()
        ways = {
            clients: Contestant(peer.name, profile, peer.precision, turns.way(clients))
            for clients in self._plan.clients
        }
        endpoint = self._try(ways.values(), lambda: self._stack.enter_context(peer.serving(profile)))
        if endpoint:
            for clients, contestant in ways.items():
                self.turns.append(turns.over_http(contestant, endpoint, self._material, clients))

    def _enter_in_process(self, profile: str) -> None:
        for peer in IN_PROCESS:
            turn = turns.in_process(peer, profile, self._material)
            if not peer.takes(profile):
                reason = f"it has the weights of {', '.join(peer.profiles)} only"
                self.absent.update(dict.fromkeys(turn.contestants, reason))
            elif peer.precision == "bf16" and not has_bfloat16():
                self.absent.update(dict.fromkeys(turn.contestants, "this processor has no bf16"))
            elif self._try(turn.contestants, partial(peer.command, profile)):
                self.turns.append(turn)

    def _try(self, contestants: Iterable[Contestant], enter: Callable[[], T]) -> T | None:
        """What `enter` gives; None where the contestants cannot take part, and why is kept."""
        try:
            return enter()
        except (BenchmarkError, WeightsError, OSError) as error:
            print(f"Cannot take part: {error}", file=sys.stderr, flush=True)
            self.failed.update({contestant: [str(error)] for contestant in contestants})
            return None
