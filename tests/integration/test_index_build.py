from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.domain import (
    FileIndexed,
    FilesCompared,
    FileSkipped,
    IndexEvent,
    IndexFinished,
    SkipReason,
)
from coding_assistant.errors import InvalidProject
from coding_assistant.index.build import index_fingerprint, update
from coding_assistant.index.store import ProjectIndex
from support.indexing import bring_settled, bring_up_to_date, paths_found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(file: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(file, fingerprint=index_fingerprint())) as index:
        yield index


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    for name in ("a.py", "b.py", "c.py"):
        (root / name).write_text(f"def {name[0]}():\n    return 'zebra'\n")
    (root / "blob").write_bytes(b"\x00\x01" * 50)
    (root / "link.py").symlink_to(root / "a.py")
    return root


def _position(events: list[IndexEvent], kind: type[IndexEvent]) -> int:
    return next(position for position, event in enumerate(events) if isinstance(event, kind))


def test_the_events_tell_what_happens_in_order(index: ProjectIndex, root: Path) -> None:
    events = list(update(index, root))
    compared = _position(events, FilesCompared)
    assert events[:compared] == [FileSkipped(PurePosixPath("link.py"), SkipReason.LINK)]
    assert events[compared] == FilesCompared(total=4, to_index=4, removed=0)
    assert sorted(str(event.path) for event in events if isinstance(event, FileIndexed)) == [
        "a.py",
        "b.py",
        "c.py",
    ]
    assert FileSkipped(PurePosixPath("blob"), SkipReason.BINARY) in events[compared:]
    assert isinstance(events[-1], IndexFinished)
    assert len(events) == compared + 1 + 4 + 1


def test_the_stats_say_what_the_index_holds(index: ProjectIndex, root: Path) -> None:
    stats = bring_up_to_date(index, root)
    assert (stats.files, stats.chunks, stats.changed, stats.removed) == (3, 3, 3, 0)
    assert stats.skipped == {SkipReason.BINARY: 1, SkipReason.LINK: 1}


def test_what_was_passed_over_is_told_once_and_counted_always(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)
    assert not [event for event in update(index, root) if isinstance(event, FileSkipped)]
    assert bring_up_to_date(index, root).skipped == {SkipReason.BINARY: 1, SkipReason.LINK: 1}


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 7])
def test_closing_at_any_point_leaves_an_index_that_the_next_update_completes(
    index: ProjectIndex, root: Path, steps: int
) -> None:
    events = update(index, root)
    told = [event.path.as_posix() for event in islice(events, steps) if isinstance(event, FileIndexed)]
    events.close()
    assert paths_found(index, "zebra") >= set(told)
    assert bring_up_to_date(index, root).files == 3
    assert paths_found(index, "zebra") == {"a.py", "b.py", "c.py"}


def test_an_index_that_is_lost_on_the_way_is_built_anew(index: ProjectIndex, root: Path, file: Path) -> None:
    bring_up_to_date(index, root)
    file.unlink()
    assert bring_up_to_date(index, root).changed == 3
    assert paths_found(index, "zebra") == {"a.py", "b.py", "c.py"}


def test_an_index_that_another_begins_anew_during_an_update_is_filled(
    index: ProjectIndex, root: Path, file: Path
) -> None:
    bring_up_to_date(index, root)
    events = update(index, root)
    assert any(isinstance(event, FilesCompared) for event in events)
    file.unlink()
    ProjectIndex.open(file, fingerprint=index_fingerprint()).close()
    list(events)
    assert paths_found(index, "zebra") == {"a.py", "b.py", "c.py"}


def test_two_updates_at_the_same_time_do_no_harm(file: Path, index: ProjectIndex, root: Path) -> None:
    with closing(ProjectIndex.open(file, fingerprint=index_fingerprint())) as other:
        ours, theirs = update(index, root), update(other, root)
        next(ours)
        (root / "d.py").write_text("d = 'zebra'\n")
        next(theirs)
        (root / "a.py").unlink()
        list(ours)
        list(theirs)
        assert bring_up_to_date(index, root).files == 3
        assert paths_found(other, "zebra") == {"b.py", "c.py", "d.py"}


def test_whoever_leaves_waits_for_no_more_than_the_present_work(index: ProjectIndex, root: Path) -> None:
    events = update(index, root, batch_seconds=0)
    assert any(isinstance(event, FileIndexed) for event in events)
    events.close()
    assert index.counts().files == 1
    assert bring_up_to_date(index, root).files == 3


def test_more_files_than_one_batch_holds(index: ProjectIndex, root: Path) -> None:
    for number in range(450):
        (root / f"many{number}.txt").write_text("zebra crossing\n")
    assert bring_up_to_date(index, root).files == 453


@pytest.mark.parametrize("name", ["absent", "a.py"])
def test_what_is_no_folder_is_refused_before_anything_is_written(
    index: ProjectIndex, root: Path, name: str
) -> None:
    bring_up_to_date(index, root)
    with pytest.raises(InvalidProject):
        next(update(index, root / name))
    assert index.counts().files == 3
