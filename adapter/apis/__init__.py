"""The documented APIs."""

from adapter.apis import paddleocr_service, paddlex_ocr, sagemaker_endpoint
from adapter.apis.base import Api

APIS: tuple[Api, ...] = (sagemaker_endpoint.API, paddleocr_service.API, paddlex_ocr.API)
