import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coding_assistant.cli.logs import COMMAND_LOG, BoundedLog, log_fault

SAID = "what somebody asked"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger that nobody else listens to."""
    logger = logging.Logger("tests.logs")  # noqa: LOG001  -- its handlers are gone with it
    yield logger
    for handler in logger.handlers:
        handler.close()


def test_an_exception_is_logged_by_its_kind_and_places_not_by_its_message(
    tmp_path: Path, logger: logging.Logger
) -> None:
    logger.addHandler(BoundedLog(tmp_path / "home", COMMAND_LOG))
    try:
        raise KeyError(SAID)  # noqa: TRY301  -- it needs a trace
    except KeyError:
        logger.exception("it failed")
    written = (tmp_path / "home" / "logs" / COMMAND_LOG).read_text()
    assert "it failed" in written
    assert "test_logs" in written
    assert "KeyError" in written
    assert SAID not in written


def test_a_log_without_records_makes_nothing(tmp_path: Path) -> None:
    with closing(BoundedLog(tmp_path / "home", COMMAND_LOG)):
        assert not (tmp_path / "home").exists()


def test_a_log_cannot_grow_without_end(tmp_path: Path, logger: logging.Logger) -> None:
    log = BoundedLog(tmp_path, COMMAND_LOG)
    log.maxBytes = 1_000
    logger.addHandler(log)
    for number in range(200):
        logger.warning("warning %d", number)
    files = list((tmp_path / "logs").iterdir())
    assert sum(file.stat().st_size for file in files) <= 3_000
    assert "warning 199" in (tmp_path / "logs" / COMMAND_LOG).read_text()


@pytest.mark.parametrize("obstacle", ["home", "logs/command.log/it"])
def test_what_cannot_be_written_is_lost_in_silence(
    tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str], obstacle: str
) -> None:
    home = tmp_path / "home"
    if obstacle == "home":
        home.write_text("a file")
    else:
        (home / obstacle).mkdir(parents=True)
    logger.addHandler(BoundedLog(home, COMMAND_LOG))
    logger.warning("lost")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("home", ["~nosuchuser/x", "/dev/null/x"])
def test_a_fault_without_a_place_to_keep_it_is_no_second_fault(
    monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("CODING_ASSISTANT_HOME", home)
    assert log_fault(KeyError(SAID)) is None
