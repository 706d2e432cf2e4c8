"""One server on several ports."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class ByPort:
    """Hands a request to the application of the port that it came to, and everything else to the main one.

    That way the applications share one process, one start and one stop, whatever the number of ports.
    """

    def __init__(self, main: ASGIApp, others: Mapping[int | None, ASGIApp]) -> None:
        self._main = main
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The address that the connection was made to; the lifespan has none.
        _, port = scope.get("server") or ("", 0)
        await self._others.get(port, self._main)(scope, receive, send)
