"""A secret that keeps what a shared server has cached for one user apart from what it has for others.

Servers that share their cache of prompts among all users let each of them find out, by the time an answer
takes, whether somebody else has sent a text. vLLM keeps prompts with another salt apart.
"""

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from coding_assistant.errors import DataDirectoryUnusable

_SALT_BYTES: Final = 32


def kept_salt(file: Path) -> str:
    """Return the secret in the file; it is made, for its owner's eyes alone, where there is none.

    Raises ``DataDirectoryUnusable``.
    """
    try:
        with suppress(FileNotFoundError):
            if salt := file.read_text(encoding="ascii").strip():
                return salt
        salt = secrets.token_hex(_SALT_BYTES)
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(salt, encoding="ascii")
        draft.replace(file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirectoryUnusable(
            f"The secret {file} that keeps your cached prompts apart cannot be read or made.",
            hint="Check the permissions of the data directory; the file may be deleted.",
        ) from error
    return salt
