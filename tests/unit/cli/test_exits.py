import io
from pathlib import Path

import pytest

from coding_assistant import errors
from coding_assistant.cli.exits import ExitCode, exit_code_of, print_error, print_internal_error
from coding_assistant.cli.screen import Screen
from coding_assistant.errors import CodingAssistantError


def all_classes(root: type[CodingAssistantError] = CodingAssistantError) -> list[type[CodingAssistantError]]:
    return [root, *(each for child in root.__subclasses__() for each in all_classes(child))]


@pytest.mark.parametrize("error_class", all_classes())
def test_every_error_has_an_exit_code(error_class: type[CodingAssistantError]) -> None:
    assert exit_code_of(error_class) in {ExitCode.FAILURE, ExitCode.USAGE, ExitCode.NOT_READY, ExitCode.BUSY}


@pytest.mark.parametrize(
    ("error_class", "code"),
    [
        (errors.CodingAssistantError, 1),
        (errors.ConversationNotFound, 1),
        (errors.DatabaseDamaged, 1),
        (errors.NotEnoughMemory, 1),
        (errors.InvalidText, 2),
        (errors.InvalidProject, 2),
        (errors.ModelUnknown, 2),
        (errors.ModelMissing, 3),
        (errors.IndexMissing, 3),
        (errors.SystemLacks, 3),
        (errors.EngineBusy, 4),
        (errors.DataDirectoryLocked, 4),
        (errors.ConversationBusy, 4),
    ],
)
def test_exit_codes_that_scripts_rely_on(error_class: type[CodingAssistantError], code: int) -> None:
    assert exit_code_of(error_class) == code


def test_an_error_is_a_sentence_and_what_to_do() -> None:
    stream = io.StringIO()
    print_error(Screen(stream), "It is not there.", "Put it there.")
    assert stream.getvalue() == "error: It is not there.\nhint: Put it there.\n"


def test_a_fault_of_the_program_is_logged_without_what_was_said_and_shown_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODING_ASSISTANT_HOME", str(tmp_path))

    said = "a question"

    def printed() -> str:
        stream = io.StringIO()
        try:
            raise KeyError(said)  # noqa: TRY301  -- it needs a trace
        except KeyError as error:
            print_internal_error(Screen(stream), error)
        return stream.getvalue()

    log = tmp_path / "logs" / "command.log"
    shown = printed()
    assert "KeyError" in shown
    assert str(log) in shown
    assert said not in shown
    assert "test_exits" in log.read_text()
    assert said not in log.read_text()
    monkeypatch.setenv("CODING_ASSISTANT_DEBUG", "1")
    assert said in printed()
