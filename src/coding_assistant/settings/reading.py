"""Reading the settings of one run: from its flags, the environment and the files of the data directory.

Whatever is wrong is told with the place where it was written.
"""

import difflib
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from types import MappingProxyType

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from platformdirs import user_data_path
from pydantic import ValidationError

from coding_assistant.errors import InvalidSetting
from coding_assistant.inference.found_models import ModelStore, usual_stores
from coding_assistant.inference.value_faults import requirement
from coding_assistant.settings.model import Settings

PREFIX = "CODING_ASSISTANT_"
CONFIG_FILE = "config.toml"
DOTENV_FILE = ".env"

FOREIGN_NAMES = frozenset(
    {
        "CODING_ASSISTANT_DEBUG",
        "CODING_ASSISTANT_TEST_LLAMA_SERVER",
        "CODING_ASSISTANT_TEST_WEIGHTS",
    }
)
"""Names with our prefix that others read: the command line's traceback switch and the test suite."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A value, and where it was given, in words: ``CODING_ASSISTANT_PORT in the environment``."""

    value: object
    origin: str


def load_settings(environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Merge the sources into settings; a flag that is None was not given.

    Raises ``InvalidSetting`` naming the source and the name.
    """
    home = home_folder(environment, flags)
    given = _from_config(home / CONFIG_FILE)
    given |= _from_dotenv(home / DOTENV_FILE)
    given |= _from_variables(environment, place=lambda _: "the environment")
    given |= {
        name: _Given(value, f"the flag --{name.removesuffix('_name').replace('_', '-')}")
        for name, value in flags.items()
        if value is not None
    }
    merged = {name: each.value for name, each in given.items()} | {"home": home}
    if isinstance(merged.get("models_folder"), str):
        merged["models_folder"] = _folder(given["models_folder"])
    merged.setdefault("model_stores", _usual_stores(environment))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        name = str(faults[0]["loc"][0])
        wanted = requirement([fault for fault in faults if fault["loc"][0] == name])
        raise InvalidSetting(
            f"The setting {name} is not valid: {wanted}.", hint=f"Correct {given[name].origin}."
        ) from None


def _usual_stores(environment: Mapping[str, str]) -> tuple[ModelStore, ...]:
    try:
        return usual_stores(environment, Path.home(), sys.platform)
    except RuntimeError:  # a user without a home, as in some containers
        return ()


def home_folder(environment: Mapping[str, str], flags: Mapping[str, object] = MappingProxyType({})) -> Path:
    """Return the data directory; no file can name it, for it is where the files lie.

    Raises ``InvalidSetting``.
    """
    if flags.get("home"):
        return _folder(_Given(flags["home"], "`home`"))
    variable = PREFIX + "HOME"
    if environment.get(variable):
        return _folder(_Given(environment[variable], f"{variable} in the environment"))
    return user_data_path("coding-assistant")


def variable_of(name: str) -> str:
    """Return the environment variable that sets a setting."""
    return "MODEL_NAME" if name == "model_name" else PREFIX + name.upper()


def _folder(given: _Given) -> Path:
    """Return a folder as it was meant, absolute."""
    try:
        return Path(str(given.value)).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # ~ of nobody; a relative path in a folder that is gone
        raise InvalidSetting(
            f"The folder {given.value} cannot be made out: {error}.", hint=f"Correct {given.origin}."
        ) from error


def _from_config(file: Path) -> dict[str, _Given]:
    text = _text_of(file)
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(file, error) from error
    for name in entries:
        _require_known(name, source=_place(file, text, name), spelt=str)
    if "home" in entries:
        raise _misplaced_home(file)
    return {
        name: _Given(value, f"the entry {name!r} in {_place(file, text, name)}")
        for name, value in entries.items()
    }


def _from_dotenv(file: Path) -> dict[str, _Given]:
    """Return the settings of our own ``.env``; it is for nothing else, so every name in it must be one."""
    text = _text_of(file)
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise InvalidSetting(
                f"Line {binding.original.line} of the settings file {file} cannot be read.",
                hint=f"Write NAME=value, as in {PREFIX}SLOTS=2.",
            )
    found = dotenv_values(stream=StringIO(text))
    for variable in found:
        if variable != "MODEL_NAME" and not variable.startswith(PREFIX):
            source = _place(file, text, variable)
            raise _unknown(variable, variable.lower(), source=source, spelt=variable_of)
    if PREFIX + "HOME" in found:
        raise _misplaced_home(file)
    values = {name: value for name, value in found.items() if value is not None}
    return _from_variables(values, place=partial(_place, file, text))


def _place(file: Path, text: str, name: str) -> str:
    """Return the file and, where it can be told, the line that sets the name: in a ``.env`` the last does."""
    sets_it = re.compile(rf"""\s*(?:export\s+)?["']?{re.escape(name)}["']?\s*=""")
    found = [number for number, line in enumerate(text.splitlines(), 1) if sets_it.match(line)]
    return f"{file}, line {found[-1]}" if found else str(file)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):  # the latter is for the data directory to report
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> InvalidSetting:
    return InvalidSetting(
        f"The settings file {file} cannot be read: {error}.", hint="Correct it, or move it away."
    )


def _misplaced_home(file: Path) -> InvalidSetting:
    return InvalidSetting(
        f"{file} cannot name the data directory, which is where it lies.",
        hint=f"Set {PREFIX}HOME in the environment.",
    )


def _from_variables(variables: Mapping[str, str], *, place: Callable[[str], str]) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    if variables.get("MODEL_NAME"):
        found["model_name"] = _Given(variables["MODEL_NAME"], f"MODEL_NAME in {place('MODEL_NAME')}")
    for variable, value in variables.items():
        if not variable.startswith(PREFIX) or variable in FOREIGN_NAMES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        _require_known(name, source=place(variable), spelt=variable_of)
        if value:
            found[name] = _Given(value, f"{variable} in {place(variable)}")
    return found


def _require_known(name: str, *, source: str, spelt: Callable[[str], str]) -> None:
    if name in Settings.model_fields:
        return
    unknown = PREFIX + name.upper() if spelt is variable_of else name
    raise _unknown(unknown, name, source=source, spelt=spelt)


def _unknown(written: str, name: str, *, source: str, spelt: Callable[[str], str]) -> InvalidSetting:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    hint = (
        f"Did you mean {spelt(close[0])}?"
        if close
        else f"Known: {', '.join(map(spelt, Settings.model_fields))}."
    )
    return InvalidSetting(f"{written} in {source} is not a setting.", hint=hint)
