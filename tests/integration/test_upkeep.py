"""The next search is true to the working tree, with a watch and without; no stale hit is returned."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.domain import FilesCompared, Hit, IndexFinished, IndexStats
from coding_assistant.errors import CodingAssistantError
from coding_assistant.index import upkeep
from coding_assistant.index.build import index_fingerprint
from coding_assistant.index.search import Searcher
from coding_assistant.index.store import ProjectIndex
from coding_assistant.index.upkeep import IN_BACKGROUND, Upkeep, current_hits
from support.indexing import bring_settled, bring_up_to_date, paths_found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = (tmp_path / "project").resolve()
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "kept.py").write_text("zebra = 1\n")
    (root / "pkg" / "other.py").write_text("walrus = 1\n")
    return root


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(tmp_path / "index.sqlite", fingerprint=index_fingerprint())) as index:
        yield index


@pytest.fixture(params=[True, False], ids=["watched", "not watched"])
def keeper(request: pytest.FixtureRequest, root: Path, index: ProjectIndex) -> Iterator[Upkeep]:
    with closing(Upkeep(root)) as keeper:
        if request.param:
            keeper.begin_watching()
        _update(keeper, index)
        yield keeper


def _update(keeper: Upkeep, index: ProjectIndex) -> tuple[FilesCompared, IndexStats]:
    events = list(keeper.update(index))
    (compared,) = (event for event in events if isinstance(event, FilesCompared))
    (finished,) = (event for event in events if isinstance(event, IndexFinished))
    return compared, finished.stats


def _is_due(keeper: Upkeep) -> bool:
    return keeper.is_due


def _is_watching(keeper: Upkeep) -> bool:
    return keeper.is_watching


# --- Before a search ------------------------------------------------------------------------------


def test_edit_add_delete_and_rename(keeper: Upkeep, index: ProjectIndex, root: Path) -> None:
    (root / "pkg" / "kept.py").write_text("giraffe = 22\n")
    (root / "pkg" / "other.py").unlink()
    (root / "new.py").write_text("okapi = 1\n")
    _update(keeper, index)
    assert [paths_found(index, each) for each in ("giraffe", "zebra", "walrus", "okapi")] == [
        {"pkg/kept.py"},
        set(),
        set(),
        {"new.py"},
    ]
    (root / "pkg").rename(root / "package")
    _update(keeper, index)
    assert paths_found(index, "giraffe") == {"package/kept.py"}


def test_a_file_replaced_by_a_link(keeper: Upkeep, index: ProjectIndex, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("giraffe = 1\n")
    (root / "pkg" / "kept.py").unlink()
    (root / "pkg" / "kept.py").symlink_to(tmp_path / "outside.py")
    _update(keeper, index)
    assert (paths_found(index, "zebra"), paths_found(index, "giraffe")) == (set(), set())


def test_another_branch_of_hundreds_of_files(keeper: Upkeep, index: ProjectIndex, root: Path) -> None:
    """Switch as git does: files that differ are removed and made anew, folders come and go."""
    _switch(root, {f"src/m{n}/f{n % 7}.py": f"first_{n} = 'zebra'\n" for n in range(250)})
    assert _update(keeper, index)[1].files == 250
    second = {f"src/m{n}/f{n % 7}.py": f"first_{n} = 'zebra'\n" for n in range(0, 250, 5)}
    second |= {f"lib/m{n}.py": f"second_{n} = 'okapi'\n" for n in range(200)}
    second |= {"src/m1": "now_a_file = 'okapi'\n"}
    _switch(root, second)
    _, stats = _update(keeper, index)
    assert stats.files == len(second)
    assert {str(path) for path in index.stamps()} == second.keys()
    assert paths_found(index, "zebra") <= second.keys()


def _switch(root: Path, files: dict[str, str]) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        name = path.relative_to(root).as_posix()
        if path.is_file() and (name not in files or path.read_text() != files[name]):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for name, text in files.items():
        if not (root / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)


def test_with_a_watch_only_what_changed_is_looked_at(index: ProjectIndex, root: Path) -> None:
    with closing(Upkeep(root)) as keeper:
        keeper.begin_watching()
        assert _is_due(keeper)
        assert _update(keeper, index)[0].total == 2
        assert not _is_due(keeper)
        (root / "pkg" / "kept.py").write_text("giraffe = 22\n")
        compared, stats = _update(keeper, index)
        assert (compared.total, compared.to_index, stats.files) == (1, 1, 2)
        assert _update(keeper, index)[0].total == 0


def test_what_another_process_left_undone_is_looked_at(
    index: ProjectIndex, root: Path, tmp_path: Path
) -> None:
    with closing(Upkeep(root)) as keeper:
        keeper.begin_watching()
        _update(keeper, index)
        os.unlink(tmp_path / "index.sqlite")  # noqa: PTH108  -- begun anew by whoever opens it next
        with closing(ProjectIndex.open(tmp_path / "index.sqlite", fingerprint=index_fingerprint())):
            pass
        assert _update(keeper, index)[1].files == 2


def test_an_index_deleted_meanwhile_is_made_again(
    keeper: Upkeep, index: ProjectIndex, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "index.sqlite").unlink()
    assert _update(keeper, index)[1].files == 2
    (root / "new.py").write_text("okapi = 1\n")
    assert _update(keeper, index)[1].files == 3


def test_a_folder_that_is_replaced_is_looked_at_and_watched_again(
    keeper: Upkeep, index: ProjectIndex, root: Path
) -> None:
    was_watching = keeper.is_watching
    for number in range(2):
        shutil.rmtree(root)
        root.mkdir()
        (root / "new.py").write_text(f"okapi_{number} = 1\n")
        assert _update(keeper, index)[1].files == 1
        assert paths_found(index, f"okapi_{number}") == {"new.py"}
    assert keeper.is_watching == was_watching
    (root / "more.py").write_text("giraffe = 1\n")
    _update(keeper, index)
    compared, stats = _update(keeper, index)
    assert (compared.total, stats.files) == (0 if was_watching else 2, 2)


def test_what_is_unheeded_stays_so_when_the_folder_is_watched_again(index: ProjectIndex, root: Path) -> None:
    with closing(Upkeep(root)) as keeper:
        keeper.begin_watching(unheeded=[root / "data"])
        shutil.rmtree(root)
        (root / "data").mkdir(parents=True)
        _update(keeper, index)
        (root / "data" / "index.sqlite").write_text("changed")
        assert _update(keeper, index)[0].total == 0


def test_a_watch_that_cannot_be_had_again_holds_no_update_up(
    index: ProjectIndex, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with closing(Upkeep(root)) as keeper:
        with monkeypatch.context() as patched:
            patched.setattr("tempfile.tempdir", str(temporary))
            keeper.begin_watching()
            _update(keeper, index)
            shutil.rmtree(temporary)
            for number in range(3):
                (root / f"new{number}.py").write_text("okapi = 1\n")
                assert _update(keeper, index)[1].files == 3 + number
            assert not _is_watching(keeper)
            assert _is_due(keeper)
        _update(keeper, index)
        assert _is_watching(keeper)
        assert not _is_due(keeper)


def test_changes_survive_an_update_that_fails(index: ProjectIndex, root: Path, tmp_path: Path) -> None:
    file, away = tmp_path / "index.sqlite", tmp_path / "away.sqlite"
    with closing(Upkeep(root)) as keeper:
        keeper.begin_watching()
        _update(keeper, index)
        (root / "new.py").write_text("okapi = 1\n")
        file.rename(away)
        file.mkdir()
        with pytest.raises(CodingAssistantError):
            _update(keeper, index)
        assert _is_due(keeper)
        file.rmdir()
        away.rename(file)
        _update(keeper, index)
        assert paths_found(index, "okapi") == {"new.py"}


def test_an_update_that_was_left_is_made_up_for(index: ProjectIndex, root: Path) -> None:
    with closing(Upkeep(root)) as keeper:
        keeper.begin_watching()
        events = keeper.update(index, pace=IN_BACKGROUND)
        next(events)
        events.close()
        assert _is_due(keeper)
        assert _update(keeper, index)[1].files == 2


def test_everything_is_looked_at_from_time_to_time(
    index: ProjectIndex, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_AGAIN_SECONDS", 0.0)
    with closing(Upkeep(root)) as keeper:
        keeper.begin_watching()
        _update(keeper, index)
        assert _update(keeper, index)[0].total == 2


def test_a_killed_update_is_gone_on_with(tmp_path: Path, root: Path) -> None:
    for number in range(300):
        (root / f"file{number}.py").write_text(f"okapi_{number} = 1\n")
    file = tmp_path / "index.sqlite"
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from coding_assistant.domain import FileIndexed\n"
        "from coding_assistant.index.build import index_fingerprint\n"
        "from coding_assistant.index.store import ProjectIndex\n"
        "from coding_assistant.index.upkeep import Upkeep\n"
        "index = ProjectIndex.open(Path(sys.argv[1]), fingerprint=index_fingerprint())\n"
        "for event in Upkeep(Path(sys.argv[2])).update(index):\n"
        "    if isinstance(event, FileIndexed):\n"
        "        print('committed', flush=True)\n"
        "        time.sleep(100)\n"
    )
    command = [sys.executable, "-c", script, str(file), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "committed\n"
        killed.kill()
    with closing(ProjectIndex.open(file, fingerprint=index_fingerprint())) as index:
        done = index.counts().files
        assert 0 < done < 302
        stats = bring_up_to_date(index, root)
        assert stats.files == 302


# --- After a search -------------------------------------------------------------------------------


def _search(index: ProjectIndex, root: Path, query: str, meanwhile: Callable[[], object]) -> list[Hit]:
    """Search, and let something happen between finding and returning, once."""
    waiting = [meanwhile]

    def find() -> list[Hit]:
        hits = Searcher(index).search(query, limit=10)
        if waiting:
            waiting.pop()()
        return hits

    return current_hits(index, root, find)


def _paths(hits: list[Hit]) -> list[str]:
    return [str(hit.chunk.path) for hit in hits]


def test_hits_in_unchanged_files_are_returned(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)
    assert _paths(_search(index, root, "zebra", lambda: None)) == ["pkg/kept.py"]


def test_an_index_deleted_between_match_and_return_is_searched_again(
    index: ProjectIndex, root: Path, tmp_path: Path
) -> None:
    bring_settled(index, root)
    assert _paths(_search(index, root, "zebra", (tmp_path / "index.sqlite").unlink)) == ["pkg/kept.py"]


def test_a_file_deleted_between_match_and_return_gives_no_hit(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)
    assert _search(index, root, "zebra", (root / "pkg" / "kept.py").unlink) == []
    assert index.counts().files == 1


def test_a_file_edited_between_match_and_return_is_searched_again(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)
    kept = root / "pkg" / "kept.py"
    (hit,) = _search(index, root, "zebra", lambda: kept.write_text("# new\nzebra = 333\n"))
    assert "zebra = 333" in hit.chunk.text
    assert _search(index, root, "zebra", lambda: kept.write_text("giraffe = 4444\n")) == []


def test_a_file_replaced_by_a_link_between_match_and_return_gives_no_hit(
    index: ProjectIndex, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside.py").write_text("zebra = 1\n")
    bring_settled(index, root)

    def replace() -> None:
        (root / "pkg" / "kept.py").unlink()
        (root / "pkg" / "kept.py").symlink_to(tmp_path / "outside.py")

    assert _search(index, root, "zebra", replace) == []


def test_a_file_that_was_only_touched_stays_a_hit(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)
    touch = (root / "pkg" / "kept.py").touch
    assert _paths(_search(index, root, "zebra", touch)) == ["pkg/kept.py"]


def test_an_update_by_another_between_match_and_return_is_noticed(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)

    def edit_and_update() -> None:
        (root / "pkg" / "kept.py").write_text("giraffe = 4444\n")
        bring_settled(index, root)

    assert _search(index, root, "zebra", edit_and_update) == []


def test_a_file_that_never_rests_is_left_out(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)
    kept = root / "pkg" / "kept.py"
    written: list[int] = []

    def find() -> list[Hit]:
        hits = Searcher(index).search("zebra walrus", limit=10)
        written.append(kept.write_text("zebra = 1\n" * (len(written) + 2)))
        return hits

    assert _paths(current_hits(index, root, find)) == ["pkg/other.py"]


def test_a_tree_that_is_gone_gives_no_hits_of_it(index: ProjectIndex, root: Path) -> None:
    bring_settled(index, root)
    hits = _search(index, root, "zebra", lambda: shutil.rmtree(root / "pkg"))
    assert hits == []
    assert PurePosixPath("pkg/kept.py") not in index.stamps()
