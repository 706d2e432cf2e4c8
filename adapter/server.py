"""Starts the adapter under uvicorn."""

import uvicorn

from adapter import logs
from adapter.settings import Settings

# Seconds that requests may take to finish once the server is told to stop; then they are cancelled.
_GRACE = 5


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    settings = Settings()
    uvicorn.run(
        "adapter.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.work_count,
        log_config=logs.config(settings.log_level),
        # The Observer logs each request, with its id.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
