"""The adapter's settings, from the environment: field `max_file_size` is the variable `OCR_MAX_FILE_SIZE`."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read once, when the application is made; a value that cannot be is named and the start refused."""

    model_config = SettingsConfigDict(env_prefix="OCR_", frozen=True)

    host: str = "0.0.0.0"  # noqa: S104 - a server's purpose; the document's default
    port: int = Field(default=8080, ge=0, le=65535)
    work_count: int = Field(default=1, ge=1, description="Worker processes; the queue's limits hold for each of them.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    triton_grpc_port: int = Field(default=8001, ge=1, le=65535)
    triton_url: str | None = Field(default=None, description="host:port of Triton's gRPC; unset, this machine's.")

    max_in_flight: int = Field(default=16, ge=1, description="Pictures that Triton is given at the same time.")
    max_waiting: int = Field(default=128, ge=0, description="Pictures that may wait for their turn; beyond it, 503.")
    request_timeout: float = Field(
        default=60.0, gt=0, description="Seconds from a request's first byte to its answer's last."
    )
    max_file_size: int = Field(default=10 * 1024 * 1024, ge=1, description="Bytes of one picture.")

    text_score: float = Field(default=0.5, ge=0, le=1, description="Lines with a lower score are left out.")
    box_thresh: float | None = Field(default=None, ge=0, le=1, description="Unset: the profile's own.")
    unclip_ratio: float | None = Field(default=None, gt=0, description="Unset: the profile's own.")

    @property
    def triton_target(self) -> str:
        """host:port of the gRPC endpoint to call."""
        return self.triton_url or f"127.0.0.1:{self.triton_grpc_port}"
