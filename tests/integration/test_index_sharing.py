"""Several processes search and update one index at the same time."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from coding_assistant.index.build import index_fingerprint
from coding_assistant.index.store import ProjectIndex
from support.indexing import bring_up_to_date, paths_found

_UPDATER = """
import sys
from pathlib import Path
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.search import Searcher
from coding_assistant.index.store import ProjectIndex

file, root = map(Path, sys.argv[1:])
index = ProjectIndex.open(file, fingerprint=index_fingerprint())
for _ in range(3):
    for event in update(index, root):
        Searcher(index).search("zebra crossing", limit=5)
index.close()
"""
_FILES = 60


def _project(folder: Path) -> Path:
    root = folder / "project"
    root.mkdir()
    for number in range(_FILES):
        (root / f"file{number}.py").write_text(f"def zebra_{number}():\n    return 'crossing {number}'\n")
    return root


def test_processes_that_build_the_same_index_at_once_agree(tmp_path: Path) -> None:
    root, file = _project(tmp_path), tmp_path / "index.sqlite"
    command = [sys.executable, "-W", "error", "-c", _UPDATER, str(file), str(root)]
    updaters = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for updater in updaters:
        _, complaints = updater.communicate(timeout=100)
        assert (updater.returncode, complaints) == (0, "")
    with closing(ProjectIndex.open(file, fingerprint=index_fingerprint())) as index:
        assert index.counts().files == _FILES
        assert len(paths_found(index, "zebra crossing")) == _FILES


def test_a_killed_update_leaves_an_index_that_works(tmp_path: Path) -> None:
    root, file = _project(tmp_path), tmp_path / "index.sqlite"
    updater = subprocess.Popen(
        [sys.executable, "-c", _KILLED_IN_A_TRANSACTION, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert updater.stdout is not None
    with updater:
        assert updater.stdout.readline() == "writing\n"
        updater.kill()
    with closing(ProjectIndex.open(file, fingerprint=index_fingerprint())) as index:
        assert index.counts().files == 0
        assert bring_up_to_date(index, root).files == _FILES


_KILLED_IN_A_TRANSACTION = """
import sqlite3
import sys
import time
from pathlib import Path
from coding_assistant.index.build import index_fingerprint
from coding_assistant.index.store import ProjectIndex

file = Path(sys.argv[1])
ProjectIndex.open(file, fingerprint=index_fingerprint()).close()
connection = sqlite3.connect(file, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that half of the batch is in the file already
connection.execute("BEGIN IMMEDIATE")
for number in range(5_000):
    row = (number, f"half/written/{number}")
    connection.execute("INSERT INTO files VALUES (?, ?, 1, 1, 1, 'd', NULL, 0)", row)
print("writing", flush=True)
time.sleep(100)
"""
