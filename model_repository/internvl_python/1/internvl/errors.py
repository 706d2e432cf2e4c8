"""What a caller can do something about. Each error's text begins with its code in brackets, all that crosses Triton."""


class RequestError(Exception):
    """A request that cannot be answered as it is; nothing in the server is broken."""

    code = "invalid_argument"

    def __init__(self, message: str) -> None:
        super().__init__(f"[{self.code}] {message}")


class InvalidArgumentError(RequestError):
    """An input that is missing, malformed or out of its range."""


class UnreadableImageError(RequestError):
    """Bytes that are no picture, or a picture that is damaged or of a format that is not read."""

    code = "unreadable_image"


class TooLargeError(RequestError):
    """A picture with more pixels than one request may cost."""

    code = "too_large"


class OutOfMemoryError(RequestError):
    """The device has not the memory that the request takes."""

    code = "out_of_memory"
