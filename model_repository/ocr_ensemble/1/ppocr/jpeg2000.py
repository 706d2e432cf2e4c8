"""What a JPEG 2000 file says of its size, looked at before it is decoded (ISO/IEC 15444-1: annexes A.5.1 and I.4).

OpenJPEG (2.5) takes some KB for each component of each tile while it reads the header, before anybody can look at it:
gigabytes, of a damaged or hostile file of a few bytes.
"""

from __future__ import annotations

import math
import struct

from .errors import UnreadableImageError

_START = b"\xff\x4f\xff\x51"  # of a codestream, and of its marker segment SIZ
_SIZE = struct.Struct(">HHIIIIIIIIH")  # Lsiz to Csiz
_MOST_COMPONENTS = 4
_MOST_TILES = 16384  # of 64 pixels a side, 67 megapixels


def check_header(data: bytes) -> None:
    """Raise UnreadableImageError where the file announces more components or tiles than pictures have, or nothing."""
    start = _codestream(data)
    if data[start : start + len(_START)] != _START or len(data) < start + len(_START) + _SIZE.size:
        raise UnreadableImageError("the picture is damaged: its header cannot be read")
    values = _SIZE.unpack_from(data, start + len(_START))
    right, bottom, _, _, tile_width, tile_height, tiles_left, tiles_top, components = values[2:]
    if not 1 <= components <= _MOST_COMPONENTS:
        raise UnreadableImageError(f"pictures with {components} components are not read")
    if not (tile_width and tile_height and tiles_left < right and tiles_top < bottom):
        raise UnreadableImageError("the picture is damaged: its header cannot be read")
    tiles = math.ceil((right - tiles_left) / tile_width) * math.ceil((bottom - tiles_top) / tile_height)
    if tiles > _MOST_TILES:
        raise UnreadableImageError(f"pictures of more than {_MOST_TILES} tiles are not read; this one has {tiles}")


def _codestream(data: bytes) -> int:
    """Where it begins: at once, or in the first box of its type; the file's end where there is none."""
    at = 0
    while not data.startswith(_START) and at + 16 <= len(data):
        length, kind, extended = struct.unpack_from(">I4sQ", data, at)
        header = 16 if length == 1 else 8
        if kind == b"jp2c":
            return at + header
        length = extended if length == 1 else length
        at += length if length >= header else len(data)  # 0: to the end of the file
    return at
