"""Starts the adapter under uvicorn."""

import os
import tempfile

import uvicorn

from adapter import logs
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
    uvicorn.run(
        # By its name, since every worker makes its own.
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
