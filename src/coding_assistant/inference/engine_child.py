"""What every child of ``server_process`` does before it loads a model. Standard library only."""

import ctypes
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
if sys.platform == "linux":
    # Found beforehand: between fork and exec, where it is called too, a thread may hold the loader's lock.
    _PRCTL: Final = ctypes.CDLL(None).prctl

# Out of 1000. When memory runs out, the kernel is to take the engine, which can be started again, and
# neither the service with its conversations nor the user's editor.
_OOM_SCORE_ADJUSTMENT: Final = "500"

# A snapshot is as private as the conversation that it was made of.
_OWNER_ONLY: Final = 0o077


def settle_in(niceness: int, *, end_signal: signal.Signals = signal.SIGKILL) -> None:
    """Take the place of an engine among the processes of the machine; what it starts inherits the most of it.

    ``end_signal`` is what it gets when its parent ends; see ``end_with_parent``.

    To be called before there are threads: on Linux each has a niceness of its own.
    """
    # The terminal sends Ctrl-C to all of its processes: it stops an answer, and must not take away all that
    # was read.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(end_signal)
    # It may have ended before that; it never writes a second line, so what can be read is the end.
    if select.select([sys.stdin], [], [], 0)[0]:
        os._exit(1)
    _volunteer_for_out_of_memory()
    if hasattr(os, "nice"):
        os.nice(niceness)
    os.umask(_OWNER_ONLY)


def end_with_parent(end_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent ends, also while the model is loading.

    Elsewhere than on Linux the end of standard input does it, which is seen once the model is loaded.
    """
    if sys.platform == "linux":
        _PRCTL(_PR_SET_PDEATHSIG, end_signal)


def _volunteer_for_out_of_memory() -> None:
    # Absent elsewhere than on Linux, and read-only in some containers.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJUSTMENT, encoding="ascii")
