"""What belongs to the request at hand and is wanted on every floor: for logs, metrics and Triton's traces."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
api_name: ContextVar[str] = ContextVar("api_name", default="")
