"""The SageMaker container contract."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from adapter.apis.base import Api, ServicesDep
from adapter.errors import ServiceError, UnavailableError
from adapter.settings import Settings
from adapter.sources import FileLimit

# SageMaker wants the answer within two seconds.
_PING_TIMEOUT = 1.5

router = APIRouter()


@router.get("/ping", responses={503: {"description": "Triton or one of the OCR models is not ready."}})
async def ping(services: ServicesDep) -> Response:
    """200 when Triton and every loaded OCR model are ready."""
    if not await services.recognizer.ready(_PING_TIMEOUT):
        raise UnavailableError("the models are not ready")
    return Response()


def render_error(error: ServiceError) -> Response:
    return JSONResponse({"status": "error", "error": error.message}, error.status, dict(error.headers))


def file_limit(settings: Settings, path: str) -> FileLimit:
    return FileLimit(settings.max_file_size, "OCR_MAX_FILE_SIZE")


API = Api(
    name="sagemaker_endpoint",
    title="SageMaker endpoint",
    prefix="/sagemaker",
    root_paths=frozenset({"/ping"}),
    router=router,
    render_error=render_error,
    file_limit=file_limit,
    timeout=lambda settings: settings.request_timeout,
)
