"""The documented APIs, and the page's own."""

from adapter.apis import dots_ocr_server, internvl_service, paddleocr_service, paddlex_ocr, page, sagemaker_endpoint
from adapter.apis.base import Api

APIS: tuple[Api, ...] = (
    sagemaker_endpoint.API,
    paddleocr_service.API,
    internvl_service.API,
    dots_ocr_server.API,
    paddlex_ocr.API,
    page.API,
)
