"""What a process keeps resident, told apart by what the kernel can and cannot take back. Linux only.

A process list adds up pages that nobody will miss: llama.cpp maps the model's file, repacks part of the
tensors into memory of its own, and the mapped pages behind those copies stay until somebody needs them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CLEAR_REFERENCED: Final = "1"  # proc(5), /proc/pid/clear_refs
_KIB: Final = 1_024


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes of one process: its own, and of the files that it maps all and those used again."""

    own: int
    mapped: int
    used: int

    @property
    def listed(self) -> int:
        """What a process list shows."""
        return self.own + self.mapped

    @property
    def needed(self) -> int:
        """What must stay in memory: less than this, and the machine swaps, thrashes or kills."""
        return self.own + self.used


def forget_use(process_id: int) -> None:
    """Have the kernel forget which pages the process has used, so that ``resident`` counts from now on."""
    Path(f"/proc/{process_id}/clear_refs").write_text(_CLEAR_REFERENCED, encoding="ascii")


def resident(process_id: int) -> Resident:
    """Return what the process keeps; ``used`` since the last ``forget_use``."""
    own = mapped = used = 0
    is_file = False
    for line in Path(f"/proc/{process_id}/smaps").read_text(encoding="utf-8").splitlines():
        name, *values = line.split()
        if not name.endswith(":"):  # a mapping's own line; the sixth column names its file
            is_file = values[-1].startswith("/")
            size = referenced = 0
            continue
        if name == "Rss:":
            size = int(values[0]) * _KIB
        elif name == "Referenced:":
            referenced = int(values[0]) * _KIB
        elif name == "Anonymous:":
            anonymous = int(values[0]) * _KIB
            own += anonymous
            if is_file:
                mapped += size - anonymous
                used += min(referenced, size - anonymous)
    return Resident(own, mapped, used)
