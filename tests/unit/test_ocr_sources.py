"""What the Python API and the command take, as the files that are sent to the server."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pages import blank
from triton_ocr.errors import InputError
from triton_ocr.sources import Source, _sent, sources

PNG = blank().data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "deep/c.pdf", ".hidden.png", ".git/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    return tmp_path


def names(x: Any) -> list[str]:
    return [source.name for source in sources(x)]


def only(x: Any) -> Source:
    (source,) = sources(x)
    return source


def test_a_file_keeps_the_path_that_it_was_given_by(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    source = only("./b.png")
    assert (source.input_path, source.name, source.load()) == ("./b.png", "b.png", PNG)


def test_a_folder_is_its_pictures_and_pdfs_and_those_below_in_order(folder: Path) -> None:
    assert names(str(folder)) == ["a.JPG", "b.png", "c.pdf"]
    assert names(folder) == ["a.JPG", "b.png", "c.pdf"]


@pytest.fixture
def beyond_names(tmp_path: Path) -> Iterator[Path]:
    """A folder below which lies one whose path is longer than the kernel takes: nobody can list it."""
    top = tmp_path / "deep"
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for _ in range(os.pathconf(top, "PC_PATH_MAX") // _LONG + 1):
        os.mkdir("x" * _LONG, dir_fd=at)
        below = os.open("x" * _LONG, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    yield top
    shutil.rmtree(top)


_LONG = 250


def test_a_folder_that_cannot_be_listed_is_told_after_what_was_found(beyond_names: Path) -> None:
    (beyond_names / "a.png").write_bytes(PNG)
    found, unlisted = sources(beyond_names)
    assert found.load() == PNG
    with pytest.raises(InputError, match=r"/x{250}: File name too long"):
        unlisted.load()
    (beyond_names / "a.png").unlink()
    assert only(beyond_names).input_path == unlisted.input_path


def test_a_pattern_is_what_it_matches(folder: Path) -> None:
    assert names(f"{folder}/*.png") == ["b.png"]
    assert names(f"{folder}/**/*.p*") == ["b.png", "c.pdf"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "page[1].png").write_bytes(PNG)
    assert names(f"{folder}/page[1].png") == ["page[1].png"]


def test_lists_and_dicts_are_what_they_hold(folder: Path) -> None:
    assert names([{"img": str(folder)}, {"img": f"{folder}/b.png"}, np.zeros((2, 2), np.uint8)]) == [
        *("a.JPG", "b.png", "c.pdf", "b.png"),
        "array",
    ]


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_an_array_is_a_picture_in_opencvs_order_of_channels(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    source = only(array)
    pixels = np.array(Image.open(io.BytesIO(source.load())))
    assert source.input_path is None
    if pixels.ndim == 3:
        pixels[..., :3] = pixels[..., 2::-1]
    assert np.array_equal(pixels, array)


@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        (np.zeros((2, 2), np.float32), ValueError, "uint8"),
        (np.zeros((2, 2, 2), np.uint8), ValueError, r"not \[2, 2, 2\]"),
        ({"image": "a.png"}, ValueError, '"img"'),
        (7, TypeError, "int"),
    ],
)
def test_what_cannot_be_read_is_said(x: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        list(sources(x))


def test_what_is_not_there_is_told_when_it_is_its_turn(folder: Path) -> None:
    (folder / "empty.png").touch()
    (folder / "none").mkdir()
    for name, said in {
        "gone.png": "No such file",
        "empty.png": "empty",
        "none": "no pictures or PDFs",
        "*.gif": "no pictures or PDFs",
    }.items():
        with pytest.raises(InputError, match=f"{name.replace('*', '.')}: {said}"):
            only(f"{folder}/{name}").load()


def test_what_is_no_name_or_may_not_be_looked_at_is_told_when_it_is_its_turn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"x\.png: File name too long"):
        only("x" * 300 + "x.png").load()
    with pytest.raises(InputError, match=r"http://\[::1/a\.png: Invalid IPv6 URL"):
        only("http://[::1/a.png").load()

    def forbidden(path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_file", forbidden)
    assert names(folder) == names(f"{folder}/**/[abc].*") == ["a.JPG", "b.png", "c.pdf"]


@contextmanager
def site(handler: Any) -> Iterator[str]:
    """The base URL of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_url_is_fetched(folder: Path) -> None:
    with site(partial(SimpleHTTPRequestHandler, directory=folder)) as base:
        source = only(f"{base}/b.png?size=large")
        assert (source.input_path, source.name) == (f"{base}/b.png?size=large", "b.png")
        assert source.load() == PNG
        with pytest.raises(InputError, match=r"gone\.png: HTTP 404"):
            only(f"{base}/gone.png").load()


@pytest.mark.parametrize("path", ["登机牌 1.png?地=福州", "%E7%99%BB%E6%9C%BA%E7%89%8C%201.png"])
def test_a_url_may_be_written_as_people_write_it(folder: Path, path: str) -> None:
    (folder / "登机牌 1.png").write_bytes(PNG)
    with site(partial(SimpleHTTPRequestHandler, directory=folder)) as base:
        source = only(f"{base}/{path}")
        assert (source.name, source.load()) == ("登机牌 1.png", PNG)


def test_a_host_in_any_script_is_asked_for_by_its_ascii_name() -> None:
    assert _sent("http://例子.测试:8080/a b?q=%20#c") == "http://xn--fsqu00a.xn--0zwm56d:8080/a%20b?q=%20#c"


def test_a_download_that_is_cut_short_is_told() -> None:
    class Cut(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(PNG[:10])

    with site(Cut) as base, pytest.raises(InputError, match=r"a\.png: IncompleteRead\(10 bytes read, 90 more"):
        only(f"{base}/a.png").load()
