"""A seal at the end of a snapshot's file: that it is whole, and of this kind.

llama.cpp ends the process on some files that were cut short, and takes others for what they are not. It does
not look behind what it has written, so that the seal stands there.
"""

import hashlib
from pathlib import Path
from typing import Final

_MARK: Final = b"coding-assistant snapshot 1\n"
_DIGEST_BYTES: Final = 32
_SEAL_BYTES: Final = len(_MARK) + _DIGEST_BYTES

# What the loader believes stands at the beginning, tokens and their positions: 16 bytes a token.
_HEAD_BYTES: Final = 1024 * 1024

# Of the rest a sample every so often: a machine that lost its power may leave holes in a file of the right
# size. Waiting for the disk, or hashing all of it, would take longer than anything else of a restoration.
_STRIDE_BYTES: Final = 256 * 1024
_SAMPLE_BYTES: Final = 4 * 1024


def seal(file: Path, identity: str) -> int:
    """Put the seal on a file that was just written, and return its size with it. Raises ``OSError``."""
    content_bytes = file.stat().st_size
    digest = _digest(file, identity, content_bytes)
    with file.open("ab") as sealed:
        sealed.write(_MARK + digest)
    return content_bytes + _SEAL_BYTES


def is_sealed(file: Path, identity: str) -> bool:
    """Whether the file was sealed under this identity and is as long as it was then; False if absent."""
    try:
        content_bytes = file.stat().st_size - _SEAL_BYTES
        if content_bytes < 0:
            return False
        with file.open("rb") as sealed:
            sealed.seek(content_bytes)
            found = sealed.read()
        return found == _MARK + _digest(file, identity, content_bytes)
    except OSError:
        return False


def _digest(file: Path, identity: str, content_bytes: int) -> bytes:
    digest = hashlib.blake2b(f"{identity}\0{content_bytes}\0".encode(), digest_size=_DIGEST_BYTES)
    with file.open("rb") as content:
        digest.update(content.read(min(_HEAD_BYTES, content_bytes)))
        for end in (*range(_HEAD_BYTES, content_bytes, _STRIDE_BYTES), content_bytes):
            start = max(0, end - _SAMPLE_BYTES)
            content.seek(start)
            digest.update(content.read(end - start))
    return digest.digest()
