import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coding_assistant.project.commit import MOST_BYTES, head_commit

COMMIT = "1a2b3c4d" * 5
OTHER = "9f8e7d6c" * 5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a repository of one branch."""
    root = tmp_path / "shop"
    write(root / ".git" / "HEAD", "ref: refs/heads/main\n")
    write(root / ".git" / "refs" / "heads" / "main", f"{COMMIT}\n")
    return root


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_commit_of_the_branch_that_is_checked_out(root: Path) -> None:
    assert head_commit(root) == COMMIT
    (root / "src").mkdir()
    assert head_commit(root / "src") == COMMIT


@pytest.mark.parametrize("commit", [COMMIT, "ab" * 32])
def test_a_commit_that_is_checked_out_itself(root: Path, commit: str) -> None:
    write(root / ".git" / "HEAD", commit)
    assert head_commit(root) == commit


def test_a_ref_that_is_packed(root: Path) -> None:
    (root / ".git" / "refs" / "heads" / "main").unlink()
    packed = f"# pack-refs with: peeled fully-peeled sorted \n{OTHER} refs/heads/domain\n"
    write(root / ".git" / "packed-refs", f"{packed}{COMMIT} refs/heads/main\n^{OTHER}\n")
    assert head_commit(root) == COMMIT
    write(root / ".git" / "refs" / "heads" / "main", OTHER)  # a loose one is newer
    assert head_commit(root) == OTHER


def test_a_worktree_and_a_submodule_point_to_their_git_folder(root: Path, tmp_path: Path) -> None:
    own = root / ".git" / "worktrees" / "fix"
    write(own / "HEAD", "ref: refs/heads/fix\n")
    write(own / "commondir", "../..\n")
    write(root / ".git" / "refs" / "heads" / "fix", OTHER)
    write(tmp_path / "fix" / ".git", f"gitdir: {own}\n")
    assert head_commit(tmp_path / "fix") == OTHER
    write(root / ".git" / "modules" / "lib" / "HEAD", COMMIT)
    write(root / "lib" / ".git", "gitdir: ../.git/modules/lib\n")
    assert head_commit(root / "lib") == COMMIT


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_says_the_same(tmp_path: Path) -> None:
    def git(*arguments: str, folder: Path = tmp_path) -> str:
        named = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", *named, *arguments]
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        return ended.stdout.strip()

    git("init")
    assert head_commit(tmp_path) == ""
    git("commit", "--allow-empty", "-m", "one")
    assert head_commit(tmp_path) == git("rev-parse", "HEAD")
    git("checkout", "-b", "feature/a.b")
    git("commit", "--allow-empty", "-m", "two")
    git("pack-refs", "--all")
    assert head_commit(tmp_path) == git("rev-parse", "HEAD")
    git("worktree", "add", str(tmp_path / "tree"), "HEAD~1")
    assert head_commit(tmp_path / "tree") == git("rev-parse", "HEAD", folder=tmp_path / "tree")


# --- Nothing, and nonsense ----------------------------------------------------------------------


def test_a_folder_in_no_repository_has_none(tmp_path: Path) -> None:
    assert head_commit(tmp_path / "missing") == ""


def test_an_empty_repository_has_none(root: Path) -> None:
    shutil.rmtree(root / ".git" / "refs")
    assert head_commit(root) == ""


@pytest.mark.parametrize(
    "head",
    [
        "",
        "ref:",
        "ref: ",
        "ref: HEAD",
        "ref: ../secret",
        "ref: refs/heads/../../../secret",
        "ref: refs/heads/..",
        "ref: /etc/hostname",
        "ref: refs/heads/\0",
        "ref: refs/heads/main.lock x",
        COMMIT[:-1],
        COMMIT.upper(),
        f"{COMMIT} {COMMIT}",
        "x" * 10_000,
        "ref: refs/heads/" + "a" * 300,
        "ref: refs" + "/a" * 2_000,
    ],
)
def test_a_head_that_git_would_not_write_is_none(root: Path, head: str) -> None:
    write(root / "secret", COMMIT)
    write(root / ".git" / "HEAD", head)
    assert head_commit(root) == ""


def test_refs_that_lead_in_a_circle_end(root: Path) -> None:
    write(root / ".git" / "refs" / "heads" / "main", "ref: refs/heads/other\n")
    write(root / ".git" / "refs" / "heads" / "other", "ref: refs/heads/main\n")
    assert head_commit(root) == ""


def test_no_link_leads_out_and_no_pipe_is_waited_for(root: Path, tmp_path: Path) -> None:
    branch = root / ".git" / "refs" / "heads" / "main"
    write(tmp_path / "elsewhere", OTHER)
    branch.unlink()
    branch.symlink_to(tmp_path / "elsewhere")
    assert head_commit(root) == ""
    branch.unlink()
    os.mkfifo(branch)
    assert head_commit(root) == ""
    (root / ".git" / "HEAD").unlink()
    os.mkfifo(root / ".git" / "HEAD")
    assert head_commit(root) == ""


def test_a_file_that_cannot_be_read_is_none(root: Path) -> None:
    write(root / ".git" / "HEAD", "")
    (root / ".git" / "HEAD").write_bytes(b"\xff" * MOST_BYTES)
    assert head_commit(root) == ""
    (root / ".git" / "HEAD").unlink()
    (root / ".git" / "HEAD").symlink_to("HEAD")
    assert head_commit(root) == ""


@example(b"ref: refs/heads/\xff", b"")
@given(
    head=st.binary(max_size=60) | st.binary(max_size=30).map(b"ref: refs/".__add__),
    packed=st.binary(max_size=60),
)
def test_nothing_in_a_repository_makes_it_fail(root: Path, head: bytes, packed: bytes) -> None:
    (root / ".git" / "HEAD").write_bytes(head)
    (root / ".git" / "packed-refs").write_bytes(packed)
    assert head_commit(root) in {"", COMMIT}
