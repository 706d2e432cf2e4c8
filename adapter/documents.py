"""PDFs: bytes to pages, each a picture."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from adapter.errors import (
    EncryptedDocumentError,
    InvalidRequestError,
    ServiceError,
    TooLargeError,
    UnreadableDocumentError,
)
from adapter.labels import TextLayer
from adapter.pdf_protocol import LENGTHS, Fault, Layout, Limits, PageImage, frame
from adapter.settings import Settings

_ERRORS: dict[Fault, type[ServiceError]] = {
    Fault.UNREADABLE: UnreadableDocumentError,
    Fault.ENCRYPTED: EncryptedDocumentError,
    Fault.TOO_LARGE: TooLargeError,
}

# Bytes that may lie in a stream's buffer before its reader takes them.
_BUFFER = 1 << 20


def kind(data: bytes) -> Literal["pdf", "image"]:
    """What a file is by its content: a PDF has its mark within the first 1024 bytes (ISO 32000-1, annex H.3.4.1)."""
    return "pdf" if b"%PDF-" in data[:1024] else "image"


class Document:
    """An open PDF."""

    def __init__(self, reader: "_Reader", page_count: int) -> None:
        self.page_count = page_count
        self._reader = reader

    async def pages(self, layout: Layout) -> AsyncIterator[PageImage]:
        """Its pages in order, once, each painted when the one before it has been taken.

        Raises `TooLargeError` (too many pixels, too much memory or time) and `UnreadableDocumentError`.
        """
        await self._reader.send({"layout": layout.value})
        while True:
            header, encoded = await self._reader.receive()
            if "end" in header:
                return
            yield PageImage(**{**header, "bbox": tuple(header["bbox"])}, encoded=encoded)

    async def searchable(self, layers: Sequence[TextLayer]) -> bytes:
        """The PDF with text over it that can be searched; see `adapter.searchable_pdf`.

        It is that or `pages`, once. Raises `InvalidRequestError` where a layer names a page that is not there, and
        what `pages` raises.
        """
        beyond = [layer.page for layer in layers if not 1 <= layer.page <= self.page_count]
        if beyond:
            raise InvalidRequestError(f"page {beyond[0]} is not among the {self.page_count} of the document")
        payload = json.dumps([asdict(layer) for layer in layers]).encode()
        await self._reader.send({"text": True}, payload)
        return (await self._reader.receive())[1]


class Documents:
    """Opens PDFs, each in a process of its own: MuPDF is C, and a hostile file takes down its own reader only."""

    def __init__(self, settings: Settings) -> None:
        """Must be made inside the running event loop."""
        self._limits = Limits(
            dpi=settings.pdf_dpi,
            max_pages=settings.pdf_max_pages,
            max_pixels=settings.pdf_max_pixels,
            page_timeout=settings.pdf_page_timeout,
            memory=settings.pdf_memory,
        )
        self._places = asyncio.Semaphore(settings.pdf_max_open)
        self._worker = _Worker()

    async def close(self) -> None:
        self._worker.close()

    @asynccontextmanager
    async def open(self, data: bytes, name: str) -> AsyncIterator[Document]:
        """The PDF in the field `name`, open until the context is left; it waits while too many are open.

        Raises `UnreadableDocumentError`, `EncryptedDocumentError`, and `TooLargeError` (too many pages; opening it
        takes too much memory or time).
        """
        async with self._places, self._worker.reader(name) as reader:
            await reader.send(asdict(self._limits), data)
            header, _ = await reader.receive()
            yield Document(reader, header["page_count"])


class _Worker:
    """The process that makes readers; see `adapter.pdf_worker`. Started at once, and again should it have died."""

    def __init__(self) -> None:
        self._start()

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    @asynccontextmanager
    async def reader(self, name: str) -> AsyncIterator["_Reader"]:
        """A reader for the PDF in the field `name`; killed when the context is left."""
        streams = await asyncio.open_unix_connection(sock=self._new_channel(), limit=_BUFFER)
        reader = _Reader(*streams, name)
        try:
            await reader.meet()
            yield reader
        finally:
            reader.kill()

    def _new_channel(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
            except OSError:
                self.close()
                self._start()
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
        return ours

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "adapter.pdf_worker"],
                stdin=theirs.fileno(),
                cwd=Path(__file__).resolve().parents[1],
            )


class _Reader:
    """A process with one PDF."""

    def __init__(self, received: StreamReader, sent: StreamWriter, name: str) -> None:
        self._received = received
        self._sent = sent
        self._name = name
        self._process = -1

    async def meet(self) -> None:
        header, _ = await self.receive()
        # It waits for its document, so the number is still its own; the descriptor then holds on to it.
        self._process = os.pidfd_open(header["pid"])

    def kill(self) -> None:
        if self._process >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
        self._sent.transport.abort()

    async def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        for piece in frame(header, payload):
            self._sent.write(piece)
        # What it has to say of its end is waiting to be received.
        with contextlib.suppress(ConnectionError):
            await self._sent.drain()

    async def receive(self) -> tuple[dict[str, Any], bytes]:
        try:
            lengths = LENGTHS.unpack(await self._received.readexactly(LENGTHS.size))
            header = json.loads(await self._received.readexactly(lengths[0]))
            payload = await self._received.readexactly(lengths[1])
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise UnreadableDocumentError(f"{self._name}: the PDF cannot be read: it made its reader fail") from error
        if "error" in header:
            raise _ERRORS[Fault(header["error"])](f"{self._name}: {header['message']}")
        return header, payload
