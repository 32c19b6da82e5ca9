"""What the documents say of the product, where it can be checked."""

from pathlib import Path

import typer

from coding_assistant.cli.app import app
from coding_assistant.settings import Settings, variable_of

ROOT = Path(__file__).parents[2]


def test_every_setting_is_in_the_table_with_its_variable_its_default_and_its_description() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.is_required() or field.default is None else f"`{field.default}`"
        assert f"| `{name}` | `{variable_of(name)}` | {default} | {field.description} |" in page


def test_every_decision_is_one_page_with_its_price() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    assert all("**Price.**" in page.read_text() for page in pages)


def test_the_script_of_the_checkout_names_every_verb() -> None:
    script = (ROOT / "run").read_text()
    group = typer.main.get_command(app)

    assert isinstance(group, typer.core.TyperGroup)
    assert [verb for verb in group.commands if f"\n  ./run {verb} " not in script] == []
