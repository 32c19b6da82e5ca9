"""``./run`` before there is an environment: the verbs it lists, and what it says the system lacks."""

import platform
import shutil
import sys
from pathlib import Path

import pytest

from support.checkout import Checkout, Outcome

# What the script needs of a bare system; awk and cksum only once there is a Python.
BARE_SYSTEM = ("sh", "cat", "cksum", "dirname", "id", "readlink")

OLD_PYTHON = """\
case $* in
    *version_info*) exit 1 ;;
    *) echo 3.9.2 ;;
esac
"""

PYTHON_WITHOUT_VENV = f"""\
case $* in
    *ensurepip*) echo "No module named 'ensurepip'" >&2; exit 1 ;;
    *) exec '{sys.executable}' "$@" ;;
esac
"""

PYTHON = f"""\
exec '{sys.executable}' "$@"
"""

PYTHON_WITHOUT_LOCKS = f"""\
case $* in
    *flock*) echo "[Errno 37] No locks available" >&2; exit 1 ;;
    *) exec '{sys.executable}' "$@" ;;
esac
"""

THIS_MINOR = ".".join(platform.python_version_tuple()[:2])


class BareSystem:
    """A PATH on which only what a test adds can be found, and a checkout to run there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.checkout = Checkout(folder / "a checkout")
        for name in BARE_SYSTEM:
            self.link(name)

    def link(self, name: str) -> None:
        found = shutil.which(name)
        assert found, name
        (self.bin / name).symlink_to(found)

    def add(self, name: str, script: str = "") -> None:
        command = self.bin / name
        command.write_text(f"#!/bin/sh\n{script}")
        command.chmod(0o755)

    def run(self, *arguments: str) -> Outcome:
        return self.checkout.run(*arguments, environment={"PATH": str(self.bin)})


@pytest.fixture
def system(tmp_path: Path) -> BareSystem:
    return BareSystem(tmp_path)


@pytest.mark.parametrize("arguments", [[], ["help"], ["-h"], ["--help"]])
def test_without_a_verb_it_lists_the_verbs(system: BareSystem, arguments: list[str]) -> None:
    outcome = system.run(*arguments)

    assert outcome.status == 0
    for verb in ("ask", "chat", "search", "index", "serve", "models", "doctor", "test"):
        assert f"./run {verb}" in outcome.output
    assert not outcome.told


def test_a_missing_python_is_named(system: BareSystem) -> None:
    system.add("apt-get")

    outcome = system.run("version")

    assert outcome.status == 3
    assert "Python 3.11 or newer is needed; none was found.\n" in outcome.told
    assert "apt-get install python3 python3-venv" in outcome.told


def test_a_python_too_old_is_named_with_its_version(system: BareSystem) -> None:
    system.add("python3", OLD_PYTHON)

    outcome = system.run("version")

    assert outcome.status == 3
    assert "is needed; the one here is 3.9.2.\n" in outcome.told


@pytest.mark.parametrize(
    ("installer", "command"),
    [
        ("apt-get", f"apt-get install python{THIS_MINOR}-venv"),
        ("dnf", "dnf install python3"),
        ("apk", "apk add python3"),
        ("another", "install the package that your system calls"),
    ],
)
def test_a_python_that_cannot_make_environments_is_named(
    system: BareSystem, installer: str, command: str
) -> None:
    system.add("python3", PYTHON_WITHOUT_VENV)
    system.add(installer)

    outcome = system.run("version")

    assert outcome.status == 3
    assert "python3-venv" in outcome.told
    assert command in outcome.told
    assert not (system.checkout.folder / ".venv").exists()


def test_an_environment_of_the_users_that_has_no_pip_is_left_alone(system: BareSystem) -> None:
    system.add("python3", PYTHON)
    system.link("rmdir")
    kept = system.checkout.folder / ".venv" / "pyvenv.cfg"
    kept.parent.mkdir()
    kept.touch()

    outcome = system.run("version")

    assert outcome.status == 1
    assert ".venv was not made by ./run" in outcome.told
    assert kept.exists()


def test_a_checkout_that_cannot_be_locked_is_told(system: BareSystem) -> None:
    system.add("python3", PYTHON_WITHOUT_LOCKS)

    outcome = system.run("version")

    assert outcome.status == 1
    assert "cannot be locked" in outcome.told
    assert not (system.checkout.folder / ".venv").exists()
