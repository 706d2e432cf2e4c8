"""The adapter's settings, from the environment: field `max_file_size` is the variable `OCR_MAX_FILE_SIZE`."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _comma_separated(value: object) -> object:
    return [part for word in value.split(",") if (part := word.strip())] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
"""In the environment: separated by commas."""

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Read once, when the application is made; a value that cannot be is named and the start refused."""

    model_config = SettingsConfigDict(env_prefix="OCR_", frozen=True)

    host: str = "0.0.0.0"  # noqa: S104 - a server's purpose; the document's default
    port: int = Field(default=8080, ge=0, le=65535)
    listen_fds: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        default=(), description="Listening sockets to inherit, by their descriptors; unset, host and ports are opened."
    )
    work_count: int = Field(default=1, ge=1, description="Worker processes; the queue's limits hold for each of them.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    triton_grpc_port: int = Field(default=8001, ge=1, le=65535)
    triton_url: Words = Field(
        default=(),
        description="host:port of Triton's gRPC, of each of several that take turns; a host may be a DNS name with "
        "several addresses. Unset, this machine's.",
    )
    triton_metrics_port: int = Field(default=8002, ge=1, le=65535)
    triton_metrics_url: str | None = Field(
        default=None, description="URL of Triton's metrics; unset, of the metrics port on the host of its gRPC."
    )
    vlm_triton_url: Words = Field(
        default=(), description="The same for the Triton that has the vision-language models; unset, the one above."
    )

    triton_key: str | None = Field(default=None, description="Lets models be loaded and unloaded.")

    paddleocr_service_port: int | None = Field(
        default=None, ge=1, le=65535, description="A further port, where the PaddleOCR service alone is served."
    )
    internvl_port: int | None = Field(default=None, ge=1, le=65535, description="The same for InternVL.")
    dots_port: int | None = Field(default=None, ge=1, le=65535, description="The same for DotsOCR.")

    api_keys: Words = Field(default=(), description="Any of them opens the APIs; none: the APIs are open.")
    cors_origins: Words = Field(default=(), description="Origins whose pages may call the APIs; * is all of them.")

    head_timeout: float = Field(default=10.0, gt=0, description="Seconds that the head of a request may take to come.")
    max_body_memory: int = Field(
        default=1024 * MIB, ge=MIB, description="Bytes of the bodies of all requests in hand together; beyond it, 503."
    )

    max_in_flight: int = Field(default=16, ge=1, description="Pictures that Triton is given at the same time.")
    max_waiting: int = Field(default=128, ge=0, description="Requests that may wait for their turn; beyond it, 503.")
    request_timeout: float = Field(
        default=60.0, gt=0, description="Seconds that reading one picture may take, and a whole request to SageMaker."
    )
    document_timeout: float = Field(
        default=600.0, gt=0, description="Seconds that a request may take to an API that reads documents."
    )
    generation_timeout: float = Field(
        default=600.0, gt=0, description="Seconds that a request may take to an API whose model writes its answer."
    )

    vlm_max_in_flight: int = Field(
        default=32, ge=1, description="Pictures that each vision-language model is given at the same time."
    )
    vlm_max_waiting: int = Field(
        default=64, ge=0, description="Pictures that may wait for each of them; beyond it, 503 (DotsOCR: 429)."
    )
    vlm_max_pixels: int = Field(default=50_000_000, ge=1, description="Of one picture for a vision-language model.")
    model_path: str | None = Field(
        default=None, validation_alias="MODEL_PATH", description="Folder or hub name of InternVL's weights."
    )
    max_image_patches: int = Field(default=12, ge=1, description="Tiles of 448x448 pixels that InternVL is shown.")
    internvl_max_new_tokens: int = Field(default=2048, ge=1, description="Tokens that InternVL may write for a page.")
    dots_max_new_tokens: int = Field(default=32_768, ge=1, description="What a request to DotsOCR may ask for.")

    max_file_size: int = Field(default=10 * MIB, ge=1, description="Bytes of one file.")
    max_image_width: int = Field(default=4096, ge=1, description="Pixels; for SageMaker and the PaddleOCR service.")
    max_image_height: int = Field(default=4096, ge=1, description="Pixels; for SageMaker and the PaddleOCR service.")
    internvl_max_file_size: int = Field(default=50 * MIB, ge=1, description="Bytes of one file for InternVL.")
    internvl_max_files: int = Field(default=16, ge=1, description="Files of one batch for InternVL.")
    dots_max_file_size: int = Field(default=50 * MIB, ge=1, description="Bytes of one picture for DotsOCR.")

    pdf_dpi: int = Field(default=200, ge=72, le=1200, description="At which the pages of a PDF are rendered.")
    pdf_max_pages: int = Field(default=1000, ge=1)
    pdf_max_pixels: int = Field(
        default=50_000_000,
        ge=1,
        description="Of one rendered page; a page that has more at pdf_dpi is rendered at as many dpi as fit.",
    )
    pdf_page_timeout: float = Field(
        default=2.0, gt=0, description="Seconds of processor time that opening a PDF, or painting a page, may take."
    )
    pdf_memory: int = Field(default=1024 * MIB, ge=256 * MIB, description="Bytes of address space for one open PDF.")
    pdf_max_open: int = Field(default=8, ge=1, description="PDFs that are open at a time; further ones wait.")
    pdf_pages_in_flight: int = Field(default=3, ge=1, description="Pages of one PDF that are read at the same time.")

    url_allow: Words = Field(default=(), description="host or host:port that may be fetched although it is not public.")
    url_timeout: float = Field(default=10.0, gt=0, description="Seconds that fetching one URL may take.")
    url_max_redirects: int = Field(default=3, ge=0)
    image_root: Path | None = Field(default=None, description="The folder below which paths may be named.")

    text_score: float = Field(default=0.5, ge=0, le=1, description="Lines with a lower score are left out.")
    box_thresh: float | None = Field(default=None, ge=0, le=1, description="Unset: the profile's own.")
    unclip_ratio: float | None = Field(default=None, gt=0, description="Unset: the profile's own.")

    @property
    def triton_targets(self) -> tuple[str, ...]:
        """host:port of each gRPC endpoint to call."""
        return self.triton_url or (f"127.0.0.1:{self.triton_grpc_port}",)

    def metrics_url(self, target: str) -> str:
        """URL of the metrics of the Triton with this gRPC endpoint."""
        host = target.rpartition(":")[0]
        return self.triton_metrics_url or f"http://{host}:{self.triton_metrics_port}/metrics"
