"""What can go wrong; every message says what with."""


class OCRError(Exception):
    """The base of all."""


class InputError(OCRError):
    """A picture or PDF could not be had, or the server could not read it."""


class DrawingError(OCRError):
    """There is no drawing to be saved; what was read can be."""


class ConfigError(OCRError):
    """What was asked for is not here: a pipeline, a device, weights, an option of the configuration."""


class ServerError(OCRError):
    """No server could be reached or started."""
