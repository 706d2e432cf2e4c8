"""Every failure that a caller can meet, as a type.

The status that HTTP gives a failure is mapped here, once. The words around the message are each API's own: an API
renders a `ServiceError` in its documented form, and may choose another status where its document names one.
"""

from collections.abc import Mapping
from http import HTTPStatus


class ServiceError(Exception):
    """A failure whose message may be shown to the caller."""

    status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the failure in every API's form."""
        return {}


class InternalError(ServiceError):
    """A fault of this server. The message says nothing of its inside; the log does."""


class InvalidRequestError(ServiceError):
    """A field is missing, malformed or out of range; the message names it."""

    status = HTTPStatus.BAD_REQUEST


class UnreadableImageError(ServiceError):
    """The bytes are not a picture of a known format, or a broken one."""

    status = HTTPStatus.BAD_REQUEST


class UnreadableDocumentError(ServiceError):
    """The bytes are not a PDF, or one that is too broken to be shown."""

    status = HTTPStatus.BAD_REQUEST


class EncryptedDocumentError(UnreadableDocumentError):
    """The PDF cannot be opened without a password."""


class RefusedSourceError(ServiceError):
    """The URL or path names what this server is not to fetch; the message says why, and how it could be allowed."""

    status = HTTPStatus.FORBIDDEN


class UnreachableSourceError(ServiceError):
    """What the URL or path names could not be had: no such host or file, an error status, no answer in time."""

    status = HTTPStatus.BAD_REQUEST


class UnauthorizedError(ServiceError):
    """API keys are asked for, and the request brought none, or a wrong one."""

    status = HTTPStatus.UNAUTHORIZED

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class TooLargeError(ServiceError):
    """A file, a body, a picture or a document is over a limit; the message names the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotFoundError(ServiceError):
    """No such path."""

    status = HTTPStatus.NOT_FOUND


class MethodNotAllowedError(ServiceError):
    """The path exists, the method does not."""

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self._allow = allow

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Allow": self._allow}


class UnavailableError(ServiceError):
    """The request is good and would be served at another time."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self._retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self._retry_after)}


class BusyError(UnavailableError):
    """The queue is full."""


class TritonUnavailableError(UnavailableError):
    """Triton cannot be reached, or is starting or stopping."""


class ModelUnavailableError(UnavailableError):
    """Triton is there, and the model is not loaded or not ready."""


class OutOfMemoryError(UnavailableError):
    """The model has not enough memory for this request beside the others; the message says what to lower."""


class DeadlineExceededError(ServiceError):
    """The request took longer than it may."""

    status = HTTPStatus.GATEWAY_TIMEOUT
