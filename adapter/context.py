"""What belongs to the request at hand and is wanted on every floor: its id, in logs and in Triton's traces."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
