"""A seal at the end of a snapshot's file: that it is whole, of which kind, and of which tokens.

llama.cpp ends the process on some files that were cut short, and takes others for what they are not. It does
not look behind what it has written, so that the seal stands there.
"""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_MARK: Final = b"coding-assistant snapshot 1\n"
_DIGEST_BYTES: Final = 32
_TOKEN_BYTES: Final = 4
_END: Final = struct.Struct(f"<{len(_MARK)}sQ{_DIGEST_BYTES}s")

# What the loader believes stands at the beginning, tokens and their positions: 16 bytes a token.
_HEAD_BYTES: Final = 1024 * 1024

# Of the rest a sample every so often: a machine that lost its power may leave holes in a file of the right
# size. Waiting for the disk, or hashing all of it, would take longer than anything else of a restoration.
_STRIDE_BYTES: Final = 256 * 1024
_SAMPLE_BYTES: Final = 4 * 1024


def seal(file: Path, identity: str, tokens: Sequence[int]) -> int:
    """Put the seal on a file that was just written, with the tokens that it is a snapshot of.

    Returns the file's size with all that. Raises ``OSError``.
    """
    content_bytes = file.stat().st_size
    listed = struct.pack(f"<{len(tokens)}I", *tokens)
    end = _END.pack(_MARK, len(tokens), _digest(file, content_bytes, identity.encode() + listed))
    with file.open("ab") as sealed:
        sealed.write(listed + end)
    return content_bytes + len(listed) + len(end)


def sealed_tokens(file: Path, identity: str) -> tuple[int, ...] | None:
    """Return the tokens of a file that was sealed under this identity and is as it was, else None."""
    try:
        end_at = file.stat().st_size - _END.size
        with file.open("rb") as sealed:
            sealed.seek(max(0, end_at))
            mark, count, digest = _END.unpack(sealed.read())
            content_bytes = end_at - count * _TOKEN_BYTES
            if mark != _MARK or content_bytes < 0:
                return None
            sealed.seek(content_bytes)
            listed = sealed.read(count * _TOKEN_BYTES)
        if digest != _digest(file, content_bytes, identity.encode() + listed):
            return None
        return struct.unpack(f"<{count}I", listed)
    except (OSError, struct.error):
        return None


def _digest(file: Path, content_bytes: int, more: bytes) -> bytes:
    digest = hashlib.blake2b(content_bytes.to_bytes(8) + more, digest_size=_DIGEST_BYTES)
    with file.open("rb") as content:
        digest.update(content.read(min(_HEAD_BYTES, content_bytes)))
        for end in (*range(_HEAD_BYTES, content_bytes, _STRIDE_BYTES), content_bytes):
            start = max(0, end - _SAMPLE_BYTES)
            content.seek(start)
            digest.update(content.read(end - start))
    return digest.digest()
