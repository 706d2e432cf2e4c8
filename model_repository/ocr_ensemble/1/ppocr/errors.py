"""What can be wrong with a request. Each error's text begins with its code in brackets, all that
crosses Triton."""


class RequestError(ValueError):
    """A fault of the caller's making; nothing in the server is broken."""

    code = "invalid_argument"

    def __init__(self, message: str) -> None:
        super().__init__(f"[{self.code}] {message}")


class InvalidArgumentError(RequestError):
    """An option that is unknown, of the wrong type or out of its range."""


class UnreadableImageError(RequestError):
    """Bytes that are no picture, or a picture that is damaged or of a format that is not read."""

    code = "unreadable_image"


class TooLargeError(RequestError):
    """A picture with more pixels than one request may cost."""

    code = "too_large"
