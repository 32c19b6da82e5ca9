"""A user's own catalog entries: written to their ``models.toml``, and taken out of it again.

What stands in the file besides stays as it is, comments included: an entry is appended to its end, and taken
out by its lines. What is written is read once more before it replaces the file.
"""

import json
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from coding_assistant.errors import InvalidSetting, ModelUnknown, StorageFailed
from coding_assistant.inference.catalog_file import parse, read_text, require_name, spec_of_table

Field: TypeAlias = str | int | float | Sequence[str]

_HEADER: Final = re.compile(r"^\s*\[")


def add_entry(file: Path, name: str, fields: Mapping[str, Field]) -> None:
    """Append a model to the file, which is made if need be.

    Raises ``InvalidSetting`` for a name that cannot be, ``InvalidField`` for a field, and ``StorageFailed``.
    """
    require_name(name)
    spec_of_table(name, fields, file=str(file))
    before = read_text(file) if file.exists() else ""
    lines = [f"[models.{json.dumps(name)}]", *(f"{key} = {_toml(value)}" for key, value in fields.items())]
    separator = "\n" if before.strip() else ""
    newline = "" if not before or before.endswith("\n") else "\n"
    _require_text(lines, file=file)
    text = f"{before}{newline}{separator}" + "\n".join(lines) + "\n"
    expected = {**parse(before, str(file)), name: dict(fields)}
    _write(file, text, expected=expected)


def remove_entry(file: Path, name: str) -> None:
    """Take a model out of the file. Raises ``ModelUnknown``, ``InvalidSetting`` or ``StorageFailed``."""
    text = read_text(file) if file.exists() else ""
    expected = parse(text, str(file))
    if expected.pop(name, None) is None:
        raise ModelUnknown(
            f"There is no entry {name} in {file}.", hint="`coding-assistant models list` shows the models."
        )
    _write(file, "".join(_without(text, name)), expected=expected)


def _without(text: str, name: str) -> Iterator[str]:
    """Yield the lines that do not belong to a model's tables."""
    belongs = False
    passed_over: list[str] = []  # comments and blank lines, which belong to what follows them
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):  # splitlines would also split at U+2028
        if _HEADER.match(line):
            yield from passed_over
            belongs, passed_over = _is_table_of(line, name), []
        if not belongs:
            yield line
        elif line.strip() and not line.lstrip().startswith("#"):
            passed_over = []
        else:
            passed_over.append(line)
    yield from passed_over


def _is_table_of(header: str, name: str) -> bool:
    """Return whether a line is the head of a table of this model: ``[models.mine]``, or of a part of it."""
    try:
        table = tomllib.loads(header)
    except tomllib.TOMLDecodeError:  # an array that goes on, or text in several lines
        return False
    models = table.get("models")
    return isinstance(models, dict) and name in models


def _write(file: Path, text: str, *, expected: Mapping[str, object]) -> None:
    """Replace the file in one step, if the text says what is expected of it."""
    try:
        is_as_expected = parse(text, str(file)) == expected
    except InvalidSetting:
        is_as_expected = False
    if not is_as_expected:
        raise InvalidSetting(
            f"{file} is written in a way that cannot be changed safely.", hint="Change it with an editor."
        )
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}.new")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(
            f"{file} cannot be written: {error.strerror}.", hint="Check its permissions and the disk."
        ) from error


def _require_text(lines: Sequence[str], *, file: Path) -> None:
    """Raise ``InvalidSetting`` for what TOML cannot hold: a path of bytes that are no UTF-8."""
    for line in lines:
        try:
            line.encode()
        except UnicodeEncodeError as error:
            field = line.partition(" = ")[0]
            raise InvalidSetting(
                f"{field} cannot be written to {file}: it holds bytes that are no UTF-8.",
                hint="Give the model's file and its folders names that are text.",
            ) from error


def _toml(value: Field) -> str:
    """Return a value as TOML writes it, which for these types is as JSON does, but for DEL."""
    plain = value if isinstance(value, str | int | float) else list(value)
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
