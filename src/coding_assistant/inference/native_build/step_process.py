"""The child process in which a step of a build runs: behind all other work, and no longer than its parent.

    python -m coding_assistant.inference.native_build.step_process COMMAND ARGUMENT...

Ninja ends its compilers in order when it is told to; one that outlived its parent would write into the folder
in which the next build goes on.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>

# Half an hour of compiling must not be felt in an editor, nor by a question to the running service.
_NICENESS: Final = 10


def main(command: list[str]) -> None:
    """Become the command."""
    if sys.platform == "linux":  # elsewhere the step ends with the first line that nobody reads
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    os.execvp(command[0], command)  # noqa: S606  -- the commands are `steps`' own


if __name__ == "__main__":
    main(sys.argv[1:])
