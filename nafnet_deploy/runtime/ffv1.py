"""Whether FFV1 frames are whole: FFmpeg decodes damaged ones and marks them with nothing.

RFC 9043, Slice Footer: a frame is a row of slices, and each ends with its size (24 bits), a status (8) and a CRC over
all of it (32; polynomial 0x104C11DB7, initial value 0, not inverted). The last one ends the packet: they are found from
there.
"""

from __future__ import annotations

import zlib

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FOOTER = 8


def slices_are_whole(packet: bytes) -> bool:
    """Whether a packet is a row of slices whose CRC are right; False too where the encoder wrote none."""
    end = len(packet)
    while end >= _FOOTER:
        size = int.from_bytes(packet[end - _FOOTER : end - _FOOTER + 3], "big")
        start = end - _FOOTER - size
        # No size: lost sectors read as zeros, whose CRC is 0 too. zlib's CRC takes the bits of a byte from the other
        # end, and inverts before and after.
        if size == 0 or start < 0 or zlib.crc32(packet[start:end].translate(_REVERSED), 0xFFFFFFFF) != 0xFFFFFFFF:
            return False
        end = start
    return end == 0 and len(packet) > 0
