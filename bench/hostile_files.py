"""What becomes of damaged and malicious GGUF files: a clear error each, or it loads and works.

    PYTHONPATH=tests python bench/hostile_files.py [--files 1000] [--load 60] [--seed N]

All files go through the reader of headers; of those that it lets pass so many through the real engine in its
process. The exit status is 1 when anything but an error of ours came out. The files are the test suite's.
"""

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import anyio

from support.hostile_gguf import Tally, hostile_files, load_all, read_all, sound_files

MEBIBYTE = 2**10  # of the kibibytes that the system counts in


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_000, help="that are read; default 1,000")
    parser.add_argument("--load", type=int, default=60, help="of those let pass that are loaded; default 60")
    parser.add_argument("--seed", type=int, default=5, help="of the chance by which they are damaged")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = hostile_files(sound_files(folder / "sound"), arguments.seed)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read, passed = read_all(files, arguments.files, folder)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        show(f"read: {arguments.files} files, memory grew by {grown / MEBIBYTE:.0f} MiB", read)
        # Every second and so on, so that each kind of damage has its share.
        step = max(1, len(passed) // max(1, arguments.load))
        loaded = anyio.run(load_all, passed[::step][: arguments.load])
        show(f"loaded: {loaded.outcomes.total()} of {len(passed)} let pass", loaded)
    sys.exit(bool(read.faults or loaded.faults))


def show(title: str, tally: Tally) -> None:
    """Print a tally."""
    print(f"{title}; the longest took {tally.longest_seconds:.2f} s")
    for outcome, count in tally.outcomes.most_common():
        print(f"  {count:5} {outcome}")
    for fault in tally.faults:
        print(f"  FAULT {fault}")
    print(f"  {len(tally.faults)} faults", flush=True)


if __name__ == "__main__":
    main()
