"""What can go wrong in a measurement."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Something cannot be measured; the message says what, and why."""


class TooFewRoundsError(BenchmarkError):
    """A ratio was asked for from fewer interleaved rounds than make one."""
