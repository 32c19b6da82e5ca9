from pathlib import Path

from coding_assistant.domain import FoundFile
from coding_assistant.project.walk import walk


def test_ten_thousand_files_are_all_found(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / f"folder{folder}").mkdir()
        for file in range(100):
            (tmp_path / f"folder{folder}" / f"file{file}.py").touch()
    items = list(walk(tmp_path))
    assert len(items) == 10_000
    assert all(isinstance(item, FoundFile) for item in items)
