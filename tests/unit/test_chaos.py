"""The accounting of scripts/faults: what counts as what, and when a server is back."""

from __future__ import annotations

import json
import mmap
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest

from scripts.chaos import processes, report
from scripts.chaos.account import Outcome, Record, Tally, in_hand, recovery
from scripts.chaos.calls import Answer, answer_of, calls, cases
from scripts.chaos.fuzz import damaged, fault_of
from scripts.chaos.load import judged
from scripts.chaos.material import Material, broken, small
from scripts.chaos.soak import Holdings, problems
from scripts.chaos.trials import Result
from scripts.launch.rundir import SHARED_MEMORY

RIGHT = answer_of(200, b'{"success": true, "results": [{"text": "one"}], "processing_time": 0.1}')


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_how_long_it_took_does_not_make_another_answer() -> None:
    again = answer_of(200, b'{"processing_time": 7.5, "results": [{"text": "one"}], "success": true}')
    assert judged(again, RIGHT) is Outcome.RIGHT


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (answer_of(200, body(success=True, results=[{"text": "two"}])), Outcome.WRONG),
        (answer_of(200, body(success=True, results=[])), Outcome.WRONG),
        (answer_of(200, b""), Outcome.WRONG),
        (answer_of(503, body(success=False, error="the queue is full")), Outcome.ERROR),
        (answer_of(503, body(errorCode=503, errorMsg="the queue is full", logId="x")), Outcome.ERROR),
        (answer_of(503, b"Service Unavailable"), Outcome.ERROR),
        (answer_of(200, body(page=1) + b"\n" + body(success=False, error="Triton is away")), Outcome.ERROR),
        (answer_of(500, body(success=False, error="internal error")), Outcome.UNCLEAR),
        (answer_of(500, b"Internal Server Error"), Outcome.UNCLEAR),
        (answer_of(502, body(success=False)), Outcome.UNCLEAR),
    ],
)
def test_what_is_not_the_right_answer_is_told_apart(answer: Answer, outcome: Outcome) -> None:
    assert judged(answer, RIGHT) is outcome


def test_the_same_refusal_is_the_right_answer_to_a_broken_file() -> None:
    refusal = answer_of(400, body(success=False, error="file: not a picture"))
    assert judged(answer_of(400, body(success=False, error="file: not a picture")), refusal) is Outcome.RIGHT
    assert judged(answer_of(200, body(success=True, results=[])), refusal) is Outcome.WRONG


def test_a_wrong_answer_is_shown_from_where_it_parts() -> None:
    other = answer_of(200, body(success=True, results=[{"text": "two"}]))
    assert "two" in other.unlike(RIGHT).split(" where ")[0]
    assert "one" in other.unlike(RIGHT).split(" where ")[1]


def right(sent: float, ended: float) -> Record:
    return Record(sent, ended, Outcome.RIGHT)


def failed(sent: float, ended: float) -> Record:
    return Record(sent, ended, Outcome.ERROR)


def test_a_server_whose_clients_noticed_nothing_was_never_away() -> None:
    assert recovery([failed(0, 1), right(1, 2), right(3, 4)], fault=2.5) == 0.0


def test_a_server_is_back_with_the_first_right_answer_to_what_was_sent_after_the_last_failure() -> None:
    records = [failed(9, 10), failed(11, 11.2), right(10.5, 16), failed(13, 13.1), right(14, 17), right(15, 18)]
    assert recovery(records, fault=10) == 7.0


def test_a_server_that_answers_nothing_right_any_more_is_not_back() -> None:
    assert recovery([right(0, 1), right(9, 12), failed(11, 12)], fault=10) is None


def test_requests_are_counted_by_what_became_of_them() -> None:
    tally = Tally.of([right(0, 1), right(0, 4), failed(2, 3)])
    assert (tally.sent, tally.slowest) == (3, 4)
    assert {outcome: count for outcome, count in tally.counts.items() if count} == {Outcome.RIGHT: 2, Outcome.ERROR: 1}
    assert in_hand([right(0, 1), right(0, 4), failed(2, 3)], 2.5) == 2


BEFORE = Holdings({"adapter": 7}, {"adapter": 1000}, {"adapter": 20}, 16, [])
DONE = Tally.of([right(0, 1)])


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (BEFORE, []),
        (replace(BEFORE, memory={"adapter": 1050}), []),
        (replace(BEFORE, memory={"adapter": 1060}), ["adapter has grown by 6.0%"]),
        (replace(BEFORE, descriptors={"adapter": 21}), ["adapter has 1 more files open"]),
        (replace(BEFORE, regions=17), ["there is more shared memory"]),
        (replace(BEFORE, files=["upload1"]), ["left in the folder for temporary files: upload1"]),
        (replace(BEFORE, pids={"adapter": 8}), ["processes were started anew"]),
    ],
)
def test_what_grows_or_stays_is_a_problem(after: Holdings, said: list[str]) -> None:
    assert problems(DONE, BEFORE, after, []) == said


def test_a_problem_of_many_lines_is_one_short_line_of_the_table() -> None:
    said = "it ended with 1 and said: Traceback\n" + "  File x\n" * 200
    row = report.trial(Result("weights", "damaged weights", DONE, 0, 0.0, "", ["requests lost", said], {}))
    assert "NOT AS PROMISED: requests lost; NOT AS PROMISED: it ended with 1 and said: Traceback File x" in row
    assert "\n" not in row
    assert len(row) < 500


def test_what_is_left_behind_and_what_was_lost_is_a_problem() -> None:
    lost = Tally.of([Record(0, 1, Outcome.LOST)])
    assert problems(lost, BEFORE, BEFORE, ["ocr_1"]) == ["1 lost", "left behind: ocr_1"]


def test_damage_is_the_same_for_the_same_seed_and_changes_something_of_nearly_every_file() -> None:
    whole = small()
    seeds = [*whole, *broken()]

    def some(seed: int) -> list[Material]:
        dice = random.Random(seed)  # noqa: S311 - the same each time
        return [damaged(dice.choice(seeds), dice.choice(whole), dice) for _ in range(200)]

    assert some(1) == some(1) != some(2)
    originals = {material.data for material in seeds}
    assert sum(material.data in originals for material in some(1)) < 20


@pytest.mark.parametrize(
    ("answer", "seconds", "said"),
    [
        (answer_of(200, body(success=True)), 1.0, None),
        (answer_of(400, body(error="file: damaged")), 1.0, None),
        (answer_of(400, b""), 1.0, "400 without a word"),
        (answer_of(500, body(error="internal error")), 1.0, "500 internal error"),
        (answer_of(200, body(success=True)), 40.0, "40 s"),
    ],
)
def test_a_damaged_file_may_be_read_or_refused_at_once(answer: Answer, seconds: float, said: str | None) -> None:
    assert fault_of(answer, seconds) == said


def test_every_call_is_given_files_of_its_kind() -> None:
    found = cases(small(), list(calls({})))
    assert {case.call for case in found} == set(calls({}))
    assert all(case.call.documents == case.material.is_pdf for case in found)
    assert "DotsOCR" in {call.name for call in calls({"DOTS_MODEL_PATH": "/weights"})}


def test_shared_memory_counts_once_and_as_a_whole_before_it_is_touched() -> None:
    size = 64 << 20
    with tempfile.NamedTemporaryFile(dir=SHARED_MEMORY) as region:
        os.posix_fallocate(region.fileno(), 0, size)
        before = processes.memory(os.getpid())
        with mmap.mmap(region.fileno(), size), mmap.mmap(region.fileno(), size):
            assert abs(processes.memory(os.getpid()) - before - size) < size / 8
        assert abs(processes.memory(os.getpid()) - before) < size / 8


def test_the_memory_of_a_process_is_told_whatever_its_name() -> None:
    named = "import ctypes; ctypes.CDLL(None).prctl(15, b'VLLM::Engine: 0', 0, 0, 0); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", named], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert processes.memory(process.pid) > 1 << 20
        process.communicate(b"\n")
