"""``./run`` with real environments, made by the real pip from the package index."""

import os
import platform
import re
import signal
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from support.checkout import Checkout, finish

UNREACHABLE_INDEX = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_RETRIES": "0",
}  # port 9 takes no calls


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(tmp_path_factory.mktemp("a place") / "a checkout")
    first = made.run("version")
    assert first.status == 0, first.told
    assert first.told.splitlines() == [f"Setting up {made.folder}/.venv (once, about a minute) …"]
    return made


@pytest.fixture(scope="module")
def newborn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds no more than the pip it was born with, which takes 3 s to give birth to."""
    folder = tmp_path_factory.mktemp("newborn") / "environment"
    venv.create(folder, with_pip=True)
    return folder


@pytest.fixture
def begun(newborn: Path, tmp_path: Path) -> Checkout:
    """A checkout with such an environment, into which nothing was installed yet."""
    made = Checkout(tmp_path / "checkout")
    made.adopt(newborn)
    return made


def test_arguments_and_directory_pass_unchanged_through_links(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "near").symlink_to(os.path.relpath(checkout.script, tmp_path))
    (tmp_path / "far").symlink_to("near")
    arguments = ["search", "two  spaces", "", "*", "$HOME", 'a "quote"', "a\nline", "--", "-x"]

    outcome = checkout.run(*arguments, directory=tmp_path, script=tmp_path / "far")

    assert outcome.arguments == arguments
    assert outcome.directory == tmp_path
    assert not outcome.told


@pytest.mark.parametrize("verb", ["ask", "chat", "serve"])
def test_verbs_that_need_a_model_may_fetch_it(checkout: Checkout, verb: str) -> None:
    assert checkout.run(verb, "x").arguments == ["--pull-if-none", verb, "x"]


def test_the_exit_status_is_the_commands(checkout: Checkout) -> None:
    assert checkout.run("version", environment=os.environ | {"EXIT_STATUS": "4"}).status == 4


def test_modules_in_the_callers_directory_are_not_run(checkout: Checkout, tmp_path: Path) -> None:
    for module in ("pip", "venv", "platform", "typing"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('the project was run')")
    checkout.pyproject.write_text(checkout.pyproject.read_text() + "# stale\n")

    outcome = checkout.run("version", directory=tmp_path)

    assert outcome.status == 0, outcome.told


@pytest.mark.parametrize("import_path", [":", ".:/absent", "/absent::relative"])
def test_an_import_path_does_not_lead_to_the_callers_directory(
    checkout: Checkout, tmp_path: Path, import_path: str
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the project was run')")
    environment = os.environ | {"PYTHONPATH": import_path}

    outcome = checkout.run("version", directory=tmp_path, environment=environment)

    assert outcome.status == 0, outcome.told


def make_stale(checkout: Checkout) -> None:
    checkout.pyproject.write_text(checkout.pyproject.read_text() + "# changed\n")


def move(checkout: Checkout) -> None:
    elsewhere = checkout.folder.with_name("moved")
    checkout.folder.rename(elsewhere)
    checkout.folder, checkout.script = elsewhere, elsewhere / "run"


@pytest.mark.parametrize("change", [make_stale, move])
def test_an_environment_that_no_longer_fits_is_updated_once(
    checkout: Checkout, change: Callable[[Checkout], None]
) -> None:
    change(checkout)

    assert checkout.run("version").told.startswith("Updating ")
    assert not checkout.run("version").told


def test_one_of_two_at_once_sets_up_and_an_interrupted_set_up_begins_anew(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    interrupted = checkout.start("version")
    assert interrupted.stderr
    assert interrupted.stderr.readline().startswith("Setting up ")
    os.killpg(interrupted.pid, signal.SIGKILL)
    finish(interrupted)

    both = [checkout.start("version"), checkout.start("version")]
    outcomes = [finish(process) for process in both]

    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes
    assert "".join(outcome.told for outcome in outcomes).count("Setting up ") == 1


def test_a_missing_system_library_is_named_and_then_found(begun: Checkout) -> None:
    complaint = "libgomp.so.1: cannot open shared object file: No such file or directory"
    begun.engine.write_text(f"raise ImportError({complaint!r})")

    without = begun.run("version")
    begun.engine.write_text("")
    after = begun.run("version")

    assert without.status == 3
    assert "libgomp" in without.told
    assert after.status == 0
    assert after.told.startswith("Updating "), "what was installed is kept"


@pytest.mark.parametrize("retries", ["0", "1"])  # pip words it quite differently without any
def test_an_index_out_of_reach_is_said(begun: Checkout, retries: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}

    outcome = begun.run("version", environment=environment | UNREACHABLE_INDEX | {"PIP_RETRIES": retries})

    assert outcome.status == 3
    assert "the package index cannot be reached" in outcome.told
    assert str(begun.folder / ".venv" / "setup.log") in outcome.told


def test_a_package_that_is_not_the_recorded_one_is_refused(begun: Checkout) -> None:
    before, hatchling, after = begun.constraints.read_text().partition("\nhatchling==")
    records, following, rest = after.partition("\npathspec==")
    forged = re.sub("sha256:[0-9a-f]+", f"sha256:{'0' * 64}", records)
    begun.constraints.write_text(before + hatchling + forged + following + rest)

    outcome = begun.run("version")

    assert outcome.status == 1
    assert "not the one that constraints.txt records" in outcome.told


def test_a_package_without_a_wheel_for_this_machine_is_named(begun: Checkout) -> None:
    begun.pyproject.write_text(begun.pyproject.read_text().replace('["pip"]', '["pip", "pywin32"]'))
    with begun.constraints.open("a") as constraints:
        constraints.write(f"pywin32==311 --hash=sha256:{'0' * 64}\n")

    outcome = begun.run("version")

    assert outcome.status == 3
    assert f"no ready-made pywin32 for this machine ({platform.system()} {platform.machine()}" in outcome.told
