"""What the documents say of the product, where it can be checked."""

from pathlib import Path

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
