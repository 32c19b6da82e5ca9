"""What the system says while something large is written, in the user's words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coding_assistant.errors import DiskFull, StorageFailed


@contextmanager
def disk_errors(folder: Path, *, once_there_is_room: str) -> Iterator[None]:
    """Raise ``DiskFull`` or ``StorageFailed`` for what cannot be written inside.

    ``once_there_is_room`` says in the hint what to do after some was made.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"The disk of {folder} is full.", hint=f"Make room, then {once_there_is_room}."
            ) from error
        raise StorageFailed(
            f"{folder} cannot be written: {error.strerror or error}.",
            hint="Check that the folder exists and is yours.",
        ) from error
