import json
from pathlib import Path, PurePosixPath

import pytest

from answers_bench.excerpts import gold_excerpts
from answers_bench.packages import Package, UnknownPackage, place_of, read_packages
from answers_bench.prompts import our_prompt, plain_prompt
from answers_bench.questions import Kind, Place, Question
from retrieval_bench.corpora import Registry

PYPI = {
    "registry": "PyPI source distribution",
    "name": "Some-Package",
    "package": "some",
    "version": "1.2",
    "language": "python",
    "folder": "some_package-1.2",
}
DEBIAN = {
    "registry": "debian",
    "name": "libsome-dev",
    "package": "some-c",
    "version": "2.0",
    "deb_version": "2.0-1",
    "language": "c",
    "folder": "src/libsome/usr/include",
    "get": ["apt-get download libsome-dev=2.0-1", "dpkg -x libsome-dev_2.0-1_amd64.deb src/libsome"],
}
CODE = "LIMIT = 7\n\n\ndef allowed(count):\n    if count > LIMIT:\n        return False\n    return True\n"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    (tmp_path / "some.py").write_text(CODE)
    return Package("some", tmp_path)


def question(start: int, end: int) -> Question:
    return Question(
        id="some-1",
        package="some",
        version="1.2",
        language="python",
        kind=Kind.LOOKUP,
        question="How many are allowed?",
        facts=(("7",),),
        gold=(place(start, end),),
        answer="7",
    )


def place(start: int, end: int, path: str = "some.py") -> Place:
    return Place(PurePosixPath(path), start, end)


def listing(folder: Path, *rows: object) -> Path:
    file = folder / "packages.json"
    file.write_text(json.dumps(rows))
    return file


def test_a_list_says_what_its_registry_is_asked_for(tmp_path: Path) -> None:
    found = read_packages(listing(tmp_path, PYPI, DEBIAN))
    assert (found["some"].registry, found["some"].package, found["some"].version) == (
        Registry.PYPI,
        "Some-Package",
        "1.2",
    )
    assert (found["some-c"].registry, found["some-c"].version) == (Registry.DEBIAN, "2.0-1")


def test_a_folder_is_told_within_the_package_and_not_where_a_person_unpacked_it(tmp_path: Path) -> None:
    assert read_packages(listing(tmp_path, DEBIAN))["some-c"].folder == "usr/include"


def test_a_registry_without_a_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownPackage, match="attic"):
        read_packages(listing(tmp_path, PYPI | {"registry": "attic"}))


def test_only_lines_that_are_all_there_have_a_text(package: Package) -> None:
    assert package.text(place(1, 1)) == "LIMIT = 7"
    assert package.text(place(7, 8)) is None
    assert package.text(place(0, 1)) is None
    assert package.text(place(1, 1, "other.py")) is None
    assert package.text(place(1, 1, "../some.py")) is None


def test_another_release_is_noticed_by_its_gold(package: Package) -> None:
    package.require_gold([question(1, 7)])
    with pytest.raises(UnknownPackage, match="some-1"):
        package.require_gold([question(1, 70)])


def test_a_place_is_read_as_the_api_gives_it() -> None:
    said = {"path": "some.py", "start_line": 1, "end_line": 2, "number": 1}
    assert place_of(said) == place(1, 2)


def test_our_prompt_shows_the_gold_lines_as_the_product_shows_sources(package: Package) -> None:
    asked = question(5, 6)
    system, user = our_prompt("")(asked, gold_excerpts(asked, package))
    assert system["role"] == "system"
    assert "[1] some.py:5-6 (allowed)" in user["content"]
    assert "5:     if count > LIMIT:" in user["content"]
    assert user["content"].endswith("How many are allowed?")


def test_the_plain_prompt_has_the_same_lines_without_their_numbers(package: Package) -> None:
    asked = question(5, 6)
    (message,) = plain_prompt(asked, gold_excerpts(asked, package))
    assert "[1] some.py:5-6\n    if count > LIMIT:\n        return False" in message["content"]
    assert "5:" not in message["content"].replace("py:5-6", "")
