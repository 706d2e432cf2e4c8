"""The server's own `/health`: what PaddleX's says, and what reads."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from adapter.apis.base import ServicesDep
from adapter.context import request_id
from adapter.errors import ServiceError

# Seconds that Triton may take to answer.
_TIMEOUT = 1.5

router = APIRouter(tags=["Server"])


class ServerHealth(BaseModel):
    """The first three fields are those of PaddleX."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    logId: str  # noqa: N815
    errorCode: Literal[0, 503]  # noqa: N815
    """0, or the HTTP status."""
    errorMsg: str = Field(examples=["Healthy"])  # noqa: N815
    profile: str | None = None
    """The weights that read where a request names none."""
    gpu: bool | None = None
    """Whether a network runs on a GPU."""
    providers: list[str] | None = None
    """What the networks run on, by ONNX Runtime's names."""
    precision: str | None = Field(default=None, examples=["exact"])
    """What they compute in, as OCR_PRECISION names it: exact or fast."""


@router.get(
    "/health",
    response_model_exclude_none=True,
    responses={503: {"model": ServerHealth, "description": "Triton or one of the OCR models is not ready."}},
)
async def health(services: ServicesDep, response: Response) -> ServerHealth:
    """200 when Triton and every OCR model are ready."""
    try:
        if await services.recognizer.ready(_TIMEOUT):
            runtime = await services.probe.runtime()
            return ServerHealth(
                logId=request_id.get(),
                errorCode=0,
                errorMsg="Healthy",
                profile=runtime.default_profile,
                gpu=runtime.gpu,
                providers=list(runtime.providers),
                precision=runtime.precision,
            )
        reason = "the models are not ready"
    except ServiceError as error:
        reason = error.message
    response.status_code = 503
    return ServerHealth(logId=request_id.get(), errorCode=503, errorMsg=reason)
