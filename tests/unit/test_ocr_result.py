"""Results of the Python API: printed and saved as PaddleX's document has it."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pages import blank, encode
from triton_ocr.errors import DrawingError, OCRError
from triton_ocr.result import OCRResult

QUAD = [[5, 12], [88, 10], [88, 29], [5, 31]]
JPEG = encode(np.full((20, 30, 3), 200, np.uint8), ".jpg")


def result(input_path: str | None = "in/登机牌.png", **attributes: Any) -> OCRResult:
    line = {"dt_polys": [QUAD], "dt_scores": [0.8], "rec_text": ["登机牌"], "rec_score": [0.9]}
    name = Path(input_path or "array")
    kept = {"drawing": JPEG, "in_order": None, "stem": name.stem, "suffix": name.suffix}
    return OCRResult({"input_path": input_path, **line}, width=100, height=50, **{**kept, **attributes})


def test_it_is_a_dict_of_what_was_read() -> None:
    assert list(result()) == ["input_path", "dt_polys", "dt_scores", "rec_text", "rec_score"]
    assert result()["rec_text"] == ["登机牌"]


def test_it_prints_itself_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    result().print()
    printed = capsys.readouterr().out
    assert json.loads(printed) == result()
    assert '    "rec_text": [\n        "登机牌"\n' in printed
    result().print(indent=1, ensure_ascii=True)
    assert '\n "rec_text": [\n  "\\u767b' in capsys.readouterr().out


def test_it_prints_itself_as_python_does_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    result().print(format_json=False)
    printed = capsys.readouterr().out
    assert printed.startswith("{'input_path': 'in/登机牌.png', 'dt_polys': [[[5, 12], ")
    assert printed.count("\n") == 1
    assert ast.literal_eval(printed) == result()


def test_files_in_a_folder_are_named_after_the_input(tmp_path: Path) -> None:
    assert result().save_to_json(tmp_path / "new") == tmp_path / "new" / "登机牌.json"
    assert result().save_to_img(f"{tmp_path}/new/") == tmp_path / "new" / "登机牌.png"
    assert json.loads((tmp_path / "new" / "登机牌.json").read_text(encoding="utf-8")) == result()
    assert Image.open(tmp_path / "new" / "登机牌.png").format == "PNG"


def test_a_path_with_an_ending_is_the_file(tmp_path: Path) -> None:
    result().save_to_json(tmp_path / "a.json", indent=2, ensure_ascii=True)
    assert (tmp_path / "a.json").read_text().startswith('{\n  "input_path": "in/\\u767b')
    result().save_to_img(tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == JPEG


def test_a_picture_of_a_type_that_is_not_written_becomes_a_jpeg(tmp_path: Path) -> None:
    assert result("in/scan.pdf", stem="scan_0").save_to_img(tmp_path) == tmp_path / "scan_0.jpg"
    assert result(None).save_to_img(tmp_path) == tmp_path / "array.jpg"


def test_what_was_read_is_not_written_over_under_any_name(tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    file.write_bytes(blank().data)
    (tmp_path / "soft.png").symlink_to(file)
    (tmp_path / "hard.png").hardlink_to(file)
    for path in (tmp_path, tmp_path / "soft.png", tmp_path / "hard.png"):
        with pytest.raises(OCRError, match="save somewhere else"):
            result(str(file)).save_to_img(path)
    assert file.read_bytes() == blank().data


def test_a_name_that_is_not_utf8_is_printed_and_saved_and_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = result(os.fsdecode("登机牌.png".encode("gbk")))
    read.print()
    assert json.loads(capsys.readouterr().out) == read
    assert json.loads(read.save_to_json(tmp_path).read_text(encoding="utf-8")) == read


def test_a_page_that_was_not_drawn_says_so(tmp_path: Path) -> None:
    with pytest.raises(DrawingError, match=r"^in/登机牌\.png: no picture was drawn"):
        result(drawing=None).save_to_img(tmp_path)


def test_its_text_is_the_lines_or_what_the_server_put_in_order() -> None:
    assert result().text == "登机牌\n"
    assert result(in_order="登机\n\n牌").text == "登机\n\n牌\n"
    assert result(in_order="").text == ""
