"""What became of each request, and what that says of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What a client got."""

    RIGHT = "right"
    """The answer that the undisturbed server gives."""
    ERROR = "error"
    """An error of the API that says what is the matter."""
    UNCLEAR = "unclear"
    """An error that does not: an internal one, or none of the API's form."""
    REFUSED = "refused"
    """The connection was not accepted: nothing was taken from the client."""
    LOST = "lost"
    """The connection was cut, or the client's patience ended, without an answer."""
    WRONG = "wrong"
    """Another answer than the undisturbed server gives."""


@dataclass(frozen=True)
class Record:
    """One request. Times are seconds of one monotonic clock."""

    sent: float
    ended: float
    outcome: Outcome
    what: str = ""
    """Which request, and what it got, where that was not right."""


@dataclass(frozen=True)
class Tally:
    """The requests of one trial."""

    sent: int
    counts: dict[Outcome, int]
    slowest: float
    """Seconds until the slowest request had its answer or its error."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> Tally:
        """Count them."""
        counts = Counter(record.outcome for record in records)
        return cls(
            sent=len(records),
            counts={outcome: counts[outcome] for outcome in Outcome},
            slowest=max((record.ended - record.sent for record in records), default=0.0),
        )


def recovery(records: Iterable[Record], fault: float) -> float | None:
    """Seconds from the fault until clients are served again.

    That is when the first right answer comes to a request that was sent after the last one that failed. 0 where none
    failed; None where no right answer has come since.
    """
    ordered = sorted(records, key=lambda record: record.sent)
    failed = [record.sent for record in ordered if record.outcome is not Outcome.RIGHT and record.ended >= fault]
    if not failed:
        return 0.0
    last = max(*failed, fault)
    served = [record.ended for record in ordered if record.outcome is Outcome.RIGHT and record.sent >= last]
    return min(served) - fault if served else None


def in_hand(records: Iterable[Record], moment: float) -> int:
    """How many requests had been sent and not been answered."""
    return sum(record.sent <= moment <= record.ended for record in records)
