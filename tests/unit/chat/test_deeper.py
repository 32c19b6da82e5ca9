from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import pytest

from coding_assistant.chat.deeper import (
    MOST_HITS,
    MOST_NAMES,
    MOST_ROUNDS,
    Reach,
    deep_search_told,
    goes_on,
    names_in,
    searched_on,
)
from coding_assistant.chat.model import KeptConversation
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.query import SearchText
from coding_assistant.chat.retrieving import find_sources
from coding_assistant.chat.sources import estimated_tokens
from coding_assistant.domain import Chunk, SearchedDeeper

# Each step is called by its name in the one before, and shares no other word with it.
STEPS = ("open_parcel", "weigh_goods", "cross_border", "stamp_papers", "load_lorry", "ring_doorbell")
QUESTION = "What happens to a parcel that is opened?"
REACH = Reach(2_000)


def _chunk(text: str, line: int = 1) -> Chunk:
    return Chunk(PurePosixPath("a.py"), line, line + text.count("\n"), text)


@pytest.fixture(scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProjectCode]:
    folder = tmp_path_factory.mktemp("chain")
    root = folder / "project"
    root.mkdir()
    for number, step in enumerate(STEPS):
        following = f"{STEPS[number + 1]}()" if number + 1 < len(STEPS) else "pass"
        (root / f"m{number}.py").write_text(f"def {step}():\n    {following}\n")
    code = ProjectCode(root, folder / "index.sqlite")
    await code.refresh(lambda _: None)
    yield code
    await code.close()


async def _paths(code: ProjectCode, reach: Reach) -> list[str]:
    search = SearchText(QUESTION)
    hits = await code.find_sources(QUESTION, limit=MOST_HITS)
    assert [str(hit.chunk.path) for hit in hits] == ["m0.py"]
    return [str(hit.chunk.path) for hit in await searched_on(search, hits, code, reach)]


@pytest.mark.anyio
async def test_what_the_best_source_calls_is_found_by_its_name(chain: ProjectCode) -> None:
    assert await _paths(chain, REACH) == ["m0.py", "m1.py"]


@pytest.mark.anyio
async def test_a_deep_search_goes_on_from_what_each_round_has_found_and_tells_it(chain: ProjectCode) -> None:
    told: list[SearchedDeeper] = []
    found = await _paths(chain, Reach(2_000, told.append))
    assert found == [f"m{number}.py" for number in range(1 + MOST_ROUNDS)]
    assert [(each.round, each.found) for each in told] == [(1, 1), (2, 1), (3, 1)]
    assert "weigh_goods" in told[0].names
    assert "cross_border" not in told[0].names
    assert "cross_border" in told[1].names


@pytest.mark.anyio
async def test_a_round_that_finds_nothing_new_is_the_last(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "m.py").write_text("def open_parcel():\n    pass\n")
    code = ProjectCode(tmp_path / "project", tmp_path / "index.sqlite")
    await code.refresh(lambda _: None)
    told: list[SearchedDeeper] = []
    assert await _paths_of(code, Reach(2_000, told.append)) == ["m.py"]
    assert [(each.round, each.found) for each in told] == [(1, 0)]
    await code.close()


async def _paths_of(code: ProjectCode, reach: Reach) -> list[str]:
    hits = await code.find_sources(QUESTION, limit=MOST_HITS)
    return [str(hit.chunk.path) for hit in await searched_on(SearchText(QUESTION), hits, code, reach)]


@pytest.mark.anyio
@pytest.mark.parametrize("tokens", [40, 60, 100, 2_000])
@pytest.mark.parametrize("is_deep", [False, True])
async def test_sources_keep_to_the_budget_however_far_is_searched(
    chain: ProjectCode, tokens: int, *, is_deep: bool
) -> None:
    reach = Reach(tokens, (lambda _: None) if is_deep else None)
    sources = await find_sources(QUESTION, KeptConversation(), chain, reach=reach)
    assert sum(estimated_tokens(source.chunk) for source in sources) <= reach.tokens <= 2 * tokens


def test_names_are_those_that_only_code_writes_the_most_frequent_first() -> None:
    chunks = [
        _chunk("def load(self):\n    return max_age or TemplateCache()"),
        _chunk("The cache has a max_age"),
    ]
    assert names_in(chunks) == ["max_age", "TemplateCache"]


def test_a_round_searches_with_a_bounded_number_of_names() -> None:
    names = " ".join(f"name_{number}" for number in range(3 * MOST_NAMES))
    assert names_in([_chunk(names)]) == names.split()[:MOST_NAMES]


@pytest.mark.parametrize(
    ("search", "usually"),
    [
        (SearchText("How does a request reach the view?"), True),
        (SearchText("Which functions run between the call and the answer?"), True),
        (SearchText("Where is it decided whether a colour is printed?"), False),
        (SearchText("Which piece of code joins two sets of messages?"), False),
        (SearchText("and who calls it?", "Session.send"), False),
        (SearchText("Who calls `send`?"), False),
        (SearchText("How is this project organised?"), False),
    ],
)
def test_a_question_that_is_answered_from_elsewhere_goes_on_only_if_that_is_asked_for(
    search: SearchText, *, usually: bool
) -> None:
    assert goes_on(search, Reach(1_000)) is usually
    assert goes_on(search, Reach(1_000, lambda _: None))


def test_the_receipt_tells_how_far_a_deep_search_went() -> None:
    reach = Reach(1_500, lambda _: None)
    rounds = [SearchedDeeper(number, ("a_name",), 2) for number in (1, 2)]
    assert deep_search_told(reach, rounds) == (
        "2 further rounds, up to 3,000 tokens of sources where 1,500 are usual"
    )
    assert deep_search_told(reach, rounds[:1]).startswith("1 further round, ")
    assert not deep_search_told(reach, [])
