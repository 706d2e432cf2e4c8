"""The adapter's settings come from the environment under their documented names."""

import pytest
from pydantic import ValidationError

from adapter.settings import Settings


def test_the_documented_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "OCR_HOST": "127.0.0.1",
        "OCR_PORT": "7861",
        "OCR_WORK_COUNT": "2",
        "OCR_TEXT_SCORE": "0.3",
        "OCR_BOX_THRESH": "0.4",
        "OCR_UNCLIP_RATIO": "2.0",
        "OCR_MAX_FILE_SIZE": "1000",
        "OCR_TRITON_GRPC_PORT": "9001",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.host, settings.port, settings.work_count) == ("127.0.0.1", 7861, 2)
    assert (settings.text_score, settings.box_thresh, settings.unclip_ratio) == (0.3, 0.4, 2.0)
    assert settings.max_file_size == 1000
    assert settings.triton_targets == ("127.0.0.1:9001",)


def test_a_url_of_triton_goes_before_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_TRITON_URL", "triton.internal:8001")
    assert Settings().triton_targets == ("triton.internal:8001",)
    assert Settings().metrics_url("triton.internal:8001") == "http://triton.internal:8002/metrics"


def test_a_url_of_triton_may_be_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_TRITON_URL", "a:8001, b:8001")
    assert Settings().triton_targets == ("a:8001", "b:8001")


def test_what_no_document_sets_is_left_to_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OCR_TEXT_SCORE", "OCR_BOX_THRESH", "OCR_UNCLIP_RATIO"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings()
    assert (settings.text_score, settings.box_thresh, settings.unclip_ratio) == (0.5, None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OCR_PORT", "99999"), ("OCR_TEXT_SCORE", "2"), ("OCR_MAX_FILE_SIZE", "10MB"), ("OCR_MAX_IN_FLIGHT", "0")],
)
def test_an_impossible_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("OCR_").lower()):
        Settings()
