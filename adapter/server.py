"""Starts the adapter under uvicorn."""

import contextlib
import os
import sys
import tempfile
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from adapter import connections, logs
from adapter.app import own_ports
from adapter.settings import Settings

# Seconds that requests may take to finish once the server is told to stop; then they are cancelled.
_GRACE = 5


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    settings = Settings()
    if settings.work_count == 1:
        _serve(settings)
        return
    with tempfile.TemporaryDirectory(prefix="ocr-metrics-") as shared:
        # Named before a worker is started: prometheus_client looks for it when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        _serve(settings)


def _serve(settings: Settings) -> None:
    config = uvicorn.Config(
        # By its name, since every worker makes its own.
        "adapter.app:create_listeners",
        factory=True,
        # It calls what it is given, class or not.
        http=partial(connections.Connection, head_timeout=settings.head_timeout),  # type: ignore[arg-type]
        # Without a descriptor for a connection, asyncio leaves it in the kernel's queue until there is one; libuv, on
        # which the faster uvloop is built, closes it.
        loop="asyncio",
        limit_concurrency=connections.most_connections(),
        host=settings.host,
        port=settings.port,
        workers=settings.work_count,
        log_config=logs.config(settings.log_level),
        # The Observer logs each request, with its id.
        access_log=False,
        server_header=False,
        timeout_keep_alive=connections.KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    if settings.listen_fds:
        sockets = [connections.listening(descriptor) for descriptor in settings.listen_fds]
    else:
        sockets = [config.bind_socket()]
        for port in own_ports(settings):
            sockets.append(uvicorn.Config(config.app, host=settings.host, port=port, log_config=None).bind_socket())
    for listener in sockets:
        connections.give_up_unread(listener)
    if settings.work_count > 1:
        Multiprocess(config, sockets).run()
        return
    server = uvicorn.Server(config)
    # Once it has stopped it raises the signal anew that told it to.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=sockets)
    if not server.started:
        sys.exit("the adapter could not be started")
