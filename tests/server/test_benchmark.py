"""scripts/bench on a real server, without peers: they are other people's, and take minutes to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts.benchmark import load
from scripts.benchmark.ours import Configuration, OurServer, upload_endpoint
from scripts.benchmark.pictures import Copies
from scripts.benchmark.rendered import rendered
from scripts.benchmark.samples import shares
from scripts.benchmark.score import score, total
from scripts.benchmark.shared_memory import read
from scripts.launched import Launched

ROOT = Path(__file__).parents[2]
PROFILE = "PP-OCRv6_tiny"
CARD = rendered(6)[5:]  # the smallest of the pages


def test_a_run_prints_its_table_and_writes_it_as_json_and_as_a_picture(triton: Launched, tmp_path: Path) -> None:
    arguments = ["http", "--server", triton.adapter_url, "--without-peers", "--profiles", PROFILE, "--clients", "1,3"]
    run = subprocess.run(
        [sys.executable, "-m", "scripts.benchmark", *arguments, "--count", "1", "--rounds", "2", "--into", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == (tmp_path / "bench.md").read_text()
    assert "HTTP, 3 clients" in run.stdout

    alone, together = json.loads((tmp_path / "bench.json").read_text())["comparison"]["contestants"]
    assert (alone["way"], together["way"]) == ("HTTP, 1 client", "HTTP, 3 clients")
    assert [alone["rounds"][number]["pages"] for number in ("0", "1")] == [1, 1]
    assert [together["rounds"][number]["pages"] for number in ("0", "1")] == [4, 4]
    assert alone["pages_per_second"] > 0
    assert alone["f1_sm"] == together["f1_sm"] > 0.9
    assert "<svg" in (tmp_path / "bench.svg").read_text()


def test_clients_are_answered_together_and_every_answer_is_read(triton: Launched) -> None:
    pictures = Copies().of(CARD * 4)
    sample = load.read(upload_endpoint(triton.adapter_url, PROFILE), pictures, clients=4)

    assert sample.pages == len(sample.latencies) == 4
    assert max(sample.latencies) <= sample.seconds < sum(sample.latencies)
    assert all(share > 0 for share in shares(sample))
    assert total(score(picture.truth, sample.readings[picture.name]) for picture in CARD).f1 > 0.9


def test_triton_is_asked_through_shared_memory_and_tells_what_its_models_did(triton: Launched) -> None:
    triton.wait_warm()  # the warm-up asks Triton, too
    server = OurServer(Configuration(), triton.listeners, triton.pid, start_seconds=0)
    sample = read(server, PROFILE, Copies().of(CARD * 3), clients=2)

    assert total(score(picture.truth, sample.readings[picture.name]) for picture in CARD).f1 > 0.9
    assert sample.models["det_onnx"].requests == sample.models["ocr_ensemble"].requests == 3
    assert sample.models["rec_onnx"].rows >= 3 * len(CARD[0].truth.lines)
    assert server.precision(PROFILE) == "f32"
