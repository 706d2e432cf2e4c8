"""The process behind `adapter.documents`: `python -m adapter.pdf_worker`, with a socket for its standard input.

It loads MuPDF once, and then makes a reader, a process of its own, for each socket that it is sent. A reader starts in
a millisecond or two, has seen no other document, and gives back all its memory when it ends.
"""

import json
import os
import resource
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pymupdf

from adapter.labels import Label, TextLayer
from adapter.pdf_pages import PdfError, failures_told, open_pdf, page_images
from adapter.pdf_protocol import LENGTHS, Fault, Layout, Limits, frame
from adapter.searchable_pdf import with_text

_TOO_LONG = "opening the PDF, or painting a page of it, takes more processor time than OCR_PDF_PAGE_TIMEOUT allows"


def main() -> None:
    """Serve until the other end of the socket is closed."""
    # Ctrl-C in a terminal reaches every process there; the server closes the socket when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    with socket.socket(fileno=0) as control:
        while True:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                return
            with socket.socket(fileno=descriptors[0]) as channel:
                if os.fork() == 0:
                    control.close()
                    _forked(_watch, channel)


def _forked(work: Any, channel: socket.socket) -> None:
    try:
        work(channel)
    except OSError:
        pass  # the server has closed the socket: nobody is interested any more
    finally:
        os._exit(0)


def _watch(channel: socket.socket) -> None:
    """Start the reader, and speak for it when it was killed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reader = os.fork()
    if reader == 0:
        _forked(_read, channel)
    _, status = os.waitpid(reader, 0)
    if not os.WIFSIGNALED(status):
        return
    if os.WTERMSIG(status) == signal.SIGPROF:
        _send_fault(channel, Fault.TOO_LARGE, _TOO_LONG)
    else:
        _send_fault(channel, Fault.UNREADABLE, "the PDF cannot be read: it made its reader fail")


def _read(channel: socket.socket) -> None:
    _send(channel, {"pid": os.getpid()})
    header, data = _receive(channel)
    limits = Limits(**header)
    _bound(limits)
    try:
        with _deadline(limits):
            document = open_pdf(data, limits)
        _send(channel, {"page_count": document.page_count})
        header, payload = _receive(channel)
        if "text" in header:
            _send_searchable(channel, document, _text_layers(payload), limits)
        else:
            _send_pages(channel, document, Layout(header["layout"]), limits)
    except PdfError as error:
        _send_fault(channel, error.fault, str(error))


def _send_pages(channel: socket.socket, document: pymupdf.Document, layout: Layout, limits: Limits) -> None:
    images = page_images(document, layout, limits)
    while True:
        with _deadline(limits):
            image = next(images, None)
        if image is None:
            break
        fields = asdict(image)
        encoded = fields.pop("encoded")
        _send(channel, fields, encoded)
    _send(channel, {"end": True})


def _send_searchable(
    channel: socket.socket, document: pymupdf.Document, layers: Sequence[TextLayer], limits: Limits
) -> None:
    with _deadline(limits, steps=1 + len(layers)), failures_told("the PDF is too broken to lay text over it", limits):
        searchable = with_text(document, layers)
    _send(channel, {"searchable": True}, searchable)


def _text_layers(payload: bytes) -> list[TextLayer]:
    return [
        TextLayer(**{**layer, "labels": [Label(**label) for label in layer["labels"]]}) for layer in json.loads(payload)
    ]


def _bound(limits: Limits) -> None:
    """What a hostile document could do more than hang is run out of memory, and write files once it has broken in."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for nothing in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(nothing, (0, 0))


@contextmanager
def _deadline(limits: Limits, steps: int = 1) -> Iterator[None]:
    """Ends the process when the block takes more than `page_timeout` seconds of processor time for each of its steps.

    Python's own handlers do not run before MuPDF returns, so this is left to the signal's default action.
    """
    signal.setitimer(signal.ITIMER_PROF, steps * limits.page_timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _send(channel: socket.socket, header: dict[str, Any], payload: bytes = b"") -> None:
    for piece in frame(header, payload):
        channel.sendall(piece)


def _send_fault(channel: socket.socket, fault: Fault, message: str) -> None:
    _send(channel, {"error": fault.value, "message": message})


def _receive(channel: socket.socket) -> tuple[dict[str, Any], bytes]:
    header_size, payload_size = LENGTHS.unpack(_receive_exactly(channel, LENGTHS.size))
    header = json.loads(_receive_exactly(channel, header_size))
    return header, _receive_exactly(channel, payload_size)


def _receive_exactly(channel: socket.socket, size: int) -> bytes:
    received = bytearray(size)
    view = memoryview(received)
    filled = 0
    while filled < size:
        count = channel.recv_into(view[filled:])
        if not count:
            raise ConnectionError("the server has closed the socket")
        filled += count
    return bytes(received)


if __name__ == "__main__":
    main()
