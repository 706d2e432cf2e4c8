"""Base64, uploads and raw bodies become bytes, and each fault is named."""

import asyncio
import base64
import json
import textwrap
from io import BytesIO

import pytest
from fastapi import UploadFile
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import InvalidRequestError, TooLargeError
from adapter.sources import FileLimit, from_base64, from_body, from_upload

LIMIT = FileLimit(1000, "OCR_MAX_FILE_SIZE")


def encodings(data: bytes) -> list[str]:
    standard = base64.b64encode(data).decode()
    return [
        standard,
        standard.rstrip("="),
        base64.urlsafe_b64encode(data).decode(),
        "\r\n".join(textwrap.wrap(standard, 76)),
        f" \n{standard}\t ",
        f"data:image/png;base64,{standard}",
        f"data:;base64,{standard}",
        f"DATA:image/jpeg;charset=x;BASE64,{standard}",
    ]


@given(st.binary(min_size=1, max_size=300))
def test_every_way_of_writing_base64_gives_the_same_bytes(data: bytes) -> None:
    assert [from_base64(text, "image", LIMIT) for text in encodings(data)] == [data] * 8


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "image: empty"),
        (" \n", "image: empty"),
        ("data:image/png;base64,", "image: empty"),
        ("!!!!not base64!!!!", "'!' is not of its alphabet"),
        ("AAAé", "'é' is not of its alphabet"),
        ("AAAAA", "the text was cut"),
        ("AA==AAAA", "image: not base64"),
        ("data:image/png,AAAA", "data:"),
        ("data:image/png;base64", "data:"),
        ("https://example.com/a.png", "image: not base64"),
    ],
)
def test_what_is_wrong_with_base64_is_said(text: str, fault: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        from_base64(text, "image", LIMIT)
    assert fault in caught.value.message


def test_a_file_of_exactly_the_limit_is_taken() -> None:
    data = bytes(1000)
    assert from_body(data, LIMIT) == data
    assert all(from_base64(text, "image", LIMIT) == data for text in encodings(data))
    assert asyncio.run(from_upload(UploadFile(BytesIO(data), size=1000), "file", LIMIT)) == data


def test_a_file_of_one_byte_more_is_refused_and_the_limit_named() -> None:
    data = bytes(1001)
    with pytest.raises(TooLargeError, match=r"body: .* 1000 bytes \(OCR_MAX_FILE_SIZE\)"):
        from_body(data, LIMIT)
    for text in encodings(data):
        with pytest.raises(TooLargeError, match=r"image: .* 1000 bytes \(OCR_MAX_FILE_SIZE\)"):
            from_base64(text, "image", LIMIT)
    with pytest.raises(TooLargeError, match=r"file: .* 1000 bytes \(OCR_MAX_FILE_SIZE\)"):
        asyncio.run(from_upload(UploadFile(BytesIO(data), size=1001), "file", LIMIT))


def test_an_empty_upload_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="file: empty"):
        asyncio.run(from_upload(UploadFile(BytesIO(b""), size=0), "file", LIMIT))


@pytest.mark.parametrize("size", [1, 57, 58, 1000, 1 << 20])
def test_the_body_limit_has_room_for_the_largest_file_in_any_encoding(size: int) -> None:
    for text in encodings(bytes(size)):
        assert len(json.dumps({"image": text})) <= FileLimit(size, "").body
