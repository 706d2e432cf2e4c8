from __future__ import annotations

from scripts.benchmark.comparison import comparisons
from scripts.benchmark.contest import Contestant, Results
from scripts.benchmark.perf_analyzer import NAME as ALONE
from scripts.benchmark.samples import Sample, Series
from scripts.benchmark.turns import COLD, LIMIT, NAME, WARM, way

PROFILE = "PP-OCRv4_mobile"


def compared(*contestants: Contestant) -> set[tuple[Contestant, Contestant]]:
    results = Results(1, {contestant: Series({0: Sample(1, 1)}) for contestant in contestants})
    return {(comparison.one, comparison.other) for comparison in comparisons(results)}


def ours(precision: str, asked: str, profile: str = PROFILE) -> Contestant:
    return Contestant(NAME, profile, precision, asked)


def test_a_server_is_compared_with_ours_of_every_precision_at_as_many_clients() -> None:
    peer = Contestant("rapidocr_api 0.2.0", PROFILE, "f32", way(8))
    f32, bf16 = ours("f32", way(8)), ours("bf16", way(8))
    assert compared(peer, f32, bf16, ours("f32", way(1))) == {(f32, peer), (bf16, peer)}


def test_a_library_is_compared_with_one_caller_of_ours_cold_with_cold_and_warm_with_warm() -> None:
    cold, warm = (Contestant("RapidOCR 1.4.4", PROFILE, "f32", f"in process, {when}") for when in (COLD, WARM))
    our_cold, our_warm = ours("bf16", f"HTTP, {COLD}"), ours("bf16", f"HTTP, {WARM}")
    assert compared(cold, warm, our_cold, our_warm) == {(our_cold, cold), (our_warm, warm)}


def test_openvino_the_limit_and_triton_alone_are_compared_in_the_same_precision_only() -> None:
    openvino = [Contestant("RapidOCR 3.10, OpenVINO", PROFILE, p, f"in process, {WARM}") for p in ("f32", "bf16")]
    limits = [Contestant(LIMIT, PROFILE, p, "2 processes of 1 thread") for p in ("f32", "bf16")]
    alone = [Contestant(ALONE, PROFILE, p, way(8, "gRPC")) for p in ("f32", "bf16")]
    warm = [ours(p, f"HTTP, {WARM}") for p in ("f32", "bf16")]
    together = [ours(p, way(8)) for p in ("f32", "bf16")]
    assert compared(*openvino, *limits, *alone, *warm, *together) == {
        *zip(warm, openvino),
        *zip(together, limits),
        *zip(together, alone),
    }


def test_weights_are_compared_with_the_same_weights_only() -> None:
    peer = Contestant("rapidocr_api 0.2.0", "PP-OCRv5_mobile", "f32", way(8))
    assert compared(peer, ours("f32", way(8))) == set()


def test_what_depends_on_the_mode_is_compared_in_the_same_mode_only() -> None:
    fast, calm = (Contestant(f"{NAME}, {mode}", PROFILE, "f32", way(1)) for mode in ("throughput", "latency"))
    limits = [Contestant(f"{LIMIT}, {mode}", PROFILE, "f32", "2 processes") for mode in ("throughput", "latency")]
    peer = Contestant("rapidocr_api 0.2.0", PROFILE, "f32", way(1))
    assert compared(fast, calm, *limits, peer) == {(fast, limits[0]), (calm, limits[1]), (fast, peer), (calm, peer)}
