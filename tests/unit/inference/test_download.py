from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.domain import HubFile, ModelSpec
from coding_assistant.errors import DiskFull, DownloadFailed, StorageFailed
from coding_assistant.inference.download import DownloadFinished, download
from support.model_specs import PLAIN_SPEC

HUB_FILE = HubFile("owner/repository", "main", "downloaded.gguf")


def spec_of(*, origins: tuple[HubFile, ...] = (HUB_FILE,), size_bytes: int = 1_000) -> ModelSpec:
    return replace(PLAIN_SPEC, filename="own.gguf", origins=origins, size_bytes=size_bytes)


@pytest.mark.parametrize("name", ["own.gguf", "downloaded.gguf"])
def test_weights_that_are_there_are_not_fetched_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"whatever")

    assert list(download(spec_of(), folder=tmp_path)) == [DownloadFinished(tmp_path / name)]
    assert (tmp_path / name).read_bytes() == b"whatever"


def test_a_model_without_an_origin_is_to_be_copied(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="does not say where") as caught:
        list(download(spec_of(origins=()), folder=tmp_path))
    assert str(tmp_path / "own.gguf") in caught.value.hint


def test_too_little_space_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"1000000000\.0 GB of free space") as caught:
        list(download(spec_of(size_bytes=10**18), folder=tmp_path))
    assert "Make room" in caught.value.hint


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageFailed, match="cannot be written"):
        list(download(spec_of(), folder=tmp_path / "file" / "models"))


def test_the_users_own_file_may_lie_anywhere(tmp_path: Path) -> None:
    own = tmp_path / "elsewhere" / "own.gguf"
    spec = replace(spec_of(origins=()), filename="~/own.gguf", path=own)
    with pytest.raises(DownloadFailed) as caught:
        list(download(spec, folder=tmp_path))
    assert str(own) in caught.value.hint

    own.parent.mkdir()
    own.write_bytes(b"whatever")
    assert list(download(spec, folder=tmp_path)) == [DownloadFinished(own)]
