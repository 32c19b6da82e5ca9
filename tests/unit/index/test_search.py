from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.domain import Chunk, Hit, SearchMode
from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.index.search import Searcher
from coding_assistant.index.store import IndexedFile, ProjectIndex
from support.examples import costly
from support.hashing_embedder import HashingEmbedder
from support.indexing import cut, indexed_project
from support.vectors import fill, write

_JAR = '''
class CookieJar:
    """Keeps cookies until they expire."""

{methods}
'''
_METHOD = '''    def {name}_cookie(self, name, value):
        """Do what {name} means with a cookie, and tell everybody who asked to be told."""
        for listener in self._listeners:
            listener.cookie_{name}(name, value)
        self._cookies[name] = value
        self._expiry[name] = self._clock() + self._lifetime_seconds
        self._log.append(("{name}", name, value, self._clock()))
        self._limit_size(self._largest_size, reason="{name}")
        return value

'''
_JAR_METHODS = "".join(_METHOD.format(name=name) for name in ("set", "drop", "renew", "copy"))

_EVERY_KIND = [
    "where are cookies set",
    "`CookieJar`",
    "who calls limit_size?",
    "how is this project organised?",
    "src/cookies.py:9",
    "src/cookies.py",
]


@pytest.fixture(scope="module")
def cookies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectIndex]:
    files = {
        "src/cookies.py": _JAR.format(methods=_JAR_METHODS),
        "src/sessions.py": "class Session:\n    def send(self):\n        return self.jar.apply(self)\n",
        "tests/test_cookies.py": "def test_cookie():\n    assert cookie == cookie.cookie(cookies)\n",
        "README.md": "# Cookies\n\nCookies are kept in a cookie jar. Cookie, cookie, cookie.\n",
    }
    with indexed_project(tmp_path_factory.mktemp("cookies"), files) as index:
        fill(index, HashingEmbedder())
        yield index


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[ProjectIndex]:
    with closing(ProjectIndex.open(tmp_path / "index.sqlite", fingerprint="f")) as index:
        yield index


def _meanings() -> StaticEmbedder:
    """Return an embedder that knows three words, of which two mean the same."""
    vectors = np.array([[127, 0], [127, 0], [0, 127]], np.int8)
    return StaticEmbedder(["discard", "erase", "paint"], vectors, np.ones((2, 3), np.float32))


def _paths(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.path.as_posix() for hit in hits]


def _overlap(one: Chunk, other: Chunk) -> bool:
    return one.path == other.path and one.start_line <= other.end_line and other.start_line <= one.end_line


def _check_apart(hits: Sequence[Hit]) -> None:
    assert not [
        (one.chunk.location, other.chunk.location)
        for one, other in combinations(hits, 2)
        if _overlap(one.chunk, other.chunk)
    ]


# --- Lists and sources ------------------------------------------------------------------------------------


def test_a_list_shows_every_file_before_a_second_chunk_of_any(cookies: ProjectIndex) -> None:
    paths = _paths(Searcher(cookies).search("where are cookies set", limit=10))
    files = len(set(paths))
    assert files == 3
    assert len(set(paths[:files])) == files
    assert paths[0] == "src/cookies.py"


def test_a_path_alone_asks_for_the_whole_file_from_its_beginning(cookies: ProjectIndex) -> None:
    hits = Searcher(cookies).search("src/cookies.py", limit=10)
    of_file = [hit.chunk.start_line for hit in hits if str(hit.chunk.path) == "src/cookies.py"]
    assert len(of_file) > 1
    assert of_file == sorted(of_file)
    assert [str(hit.chunk.path) for hit in hits[: len(of_file)]] == ["src/cookies.py"] * len(of_file)


def test_sources_may_be_several_of_one_file(cookies: ProjectIndex) -> None:
    hits = Searcher(cookies).find_sources("how is a cookie set and dropped", limit=3)
    assert _paths(hits) == ["src/cookies.py"] * 3


def test_sources_are_the_lines_that_answer(cookies: ProjectIndex) -> None:
    whole, *_ = Searcher(cookies).search("cookie_renew", limit=1)
    part, *_ = Searcher(cookies).find_sources("cookie_renew", limit=1)
    assert "listener.cookie_renew(name, value)" in part.chunk.text
    assert len(part.chunk.text) < len(whole.chunk.text)


def test_the_named_definition_comes_first(cookies: ProjectIndex) -> None:
    searcher = Searcher(cookies)
    for find in (searcher.search, searcher.find_sources):
        assert _paths(find("Session.send", limit=5))[0] == "src/sessions.py"


@pytest.mark.parametrize(
    "query", ["", "?", "what is it", "zebra", "\x00", "\ud800", '" OR "', "zebra\udc80.zebra:1"]
)
def test_nothing_is_found_where_nothing_matches(cookies: ProjectIndex, query: str) -> None:
    searcher = Searcher(cookies)
    assert searcher.search(query, limit=10) == []
    assert searcher.find_sources(query, limit=10) == []


@pytest.mark.parametrize("mode", SearchMode)
def test_an_empty_question_finds_nothing_in_any_mode(cookies: ProjectIndex, mode: SearchMode) -> None:
    searcher = Searcher(cookies, HashingEmbedder())
    assert searcher.search("", limit=10, mode=mode) == []
    assert searcher.find_sources("", limit=10, mode=mode) == []


def test_an_empty_project_answers_nothing(empty: ProjectIndex) -> None:
    for query in _EVERY_KIND:
        assert Searcher(empty, HashingEmbedder()).find_sources(query, limit=10) == []


@pytest.mark.parametrize("query", _EVERY_KIND)
@pytest.mark.parametrize("mode", SearchMode)
def test_fewer_hits_are_the_first_of_more(cookies: ProjectIndex, query: str, mode: SearchMode) -> None:
    searcher = Searcher(cookies, HashingEmbedder())
    for find in (searcher.search, searcher.find_sources):
        everything = find(query, limit=100, mode=mode)
        assert len(everything) > 2
        for limit in (0, 1, 2):
            assert find(query, limit=limit, mode=mode) == everything[:limit]


def test_a_hit_says_why(cookies: ProjectIndex) -> None:
    best, *_ = Searcher(cookies).search("CookieJar", limit=5)
    assert best.why["definition"] > 0
    assert best.score == pytest.approx(sum(best.why.values()))


# --- Words and vectors ------------------------------------------------------------------------------------


@pytest.fixture
def meanings(empty: ProjectIndex) -> ProjectIndex:
    write(
        empty,
        cut("lake.py", "def drop(entry):\n    discard(entry)"),
        cut("wood.py", "def draw(wall):\n    paint(wall)"),
        cut("hill.py", "def flux(capacitor):\n    return capacitor"),
    )
    fill(empty, _meanings())
    return empty


@pytest.mark.parametrize(
    ("query", "by_mode"),
    [
        (
            "how to erase it",
            {SearchMode.HYBRID: {"lake.py"}, SearchMode.TEXT: set(), SearchMode.VECTOR: {"lake.py"}},
        ),
        (
            "the capacitor",
            {SearchMode.HYBRID: {"hill.py"}, SearchMode.TEXT: {"hill.py"}, SearchMode.VECTOR: set()},
        ),
        (
            "erase the capacitor",
            {
                SearchMode.HYBRID: {"hill.py", "lake.py"},
                SearchMode.TEXT: {"hill.py"},
                SearchMode.VECTOR: {"lake.py"},
            },
        ),
    ],
)
def test_words_find_what_vectors_do_not_and_the_other_way_round(
    meanings: ProjectIndex, query: str, by_mode: dict[SearchMode, set[str]]
) -> None:
    searcher = Searcher(meanings, _meanings())
    for mode, expected in by_mode.items():
        for find in (searcher.search, searcher.find_sources):
            hits = find(query, limit=10, mode=mode)
            assert {path for path, hit in zip(_paths(hits), hits, strict=True) if hit.score > 0} == expected


def test_what_words_and_vectors_find_comes_before_what_one_of_them_does(meanings: ProjectIndex) -> None:
    write(meanings, cut("all.py", "discard(capacitor)"))
    fill(meanings, _meanings())
    best, *others = Searcher(meanings, _meanings()).search("erase a capacitor", limit=10)
    assert _paths([best]) == ["all.py"]
    assert {"text", "vector"} <= best.why.keys()
    assert all(other.score < best.score for other in others)


def test_each_mode_knows_only_its_own_evidence(cookies: ProjectIndex) -> None:
    searcher = Searcher(cookies, HashingEmbedder())
    for find in (searcher.search, searcher.find_sources):
        by_text = find("cookies that expire", limit=100, mode=SearchMode.TEXT)
        by_vector = find("cookies that expire", limit=100, mode=SearchMode.VECTOR)
        both = find("cookies that expire", limit=100, mode=SearchMode.HYBRID)
        assert not [hit for hit in by_text if "vector" in hit.why]
        assert not [hit for hit in by_vector if "text" in hit.why]
        assert [hit for hit in both if "text" in hit.why and "vector" in hit.why]


def test_a_vector_that_is_no_nearer_than_any_other_counts_nothing(empty: ProjectIndex) -> None:
    write(empty, cut("lake.py", "discard"), cut("shore.py", "discard, paint"))
    fill(empty, _meanings())
    near, far = Searcher(empty, _meanings()).search("erase", limit=10, mode=SearchMode.VECTOR)
    assert _paths([near, far]) == ["lake.py", "shore.py"]
    assert near.why["vector"] == 1
    assert "vector" not in far.why


def test_what_a_vector_finds_counts_by_its_words_too_however_many_others_have_them(
    empty: ProjectIndex,
) -> None:
    write(empty, *(cut(f"{number}.py", "capacitor") for number in range(250)), cut("wall.py", "paint"))
    write(empty, cut("all.py", "discard(capacitor)" + "; step()" * 50))
    fill(empty, _meanings())
    best = Searcher(empty, _meanings()).search("erase a capacitor", limit=1)[0]
    assert _paths([best]) == ["all.py"]
    assert best.why["text"] > 0


def test_equals_stand_in_the_order_of_their_places(empty: ProjectIndex) -> None:
    embedder = HashingEmbedder(64)
    write(empty, cut("a.py", "nothing", *["send the jar"] * 32))
    fill(empty, embedder)
    for query in ("how", "cookie", "send", "jar", "who sends the cookie"):
        equal = Searcher(empty, embedder).search(query, limit=100, mode=SearchMode.VECTOR)
        equal = [hit for hit in equal if hit.chunk.text == "send the jar"]
        assert [hit.chunk.start_line for hit in equal] == list(range(2, 34))
        assert len({hit.why.get("vector") for hit in equal}) == 1


@pytest.mark.parametrize("query", _EVERY_KIND)
def test_without_an_embedder_words_find_alone(cookies: ProjectIndex, query: str) -> None:
    alone, both = Searcher(cookies), Searcher(cookies, HashingEmbedder())
    assert alone.search(query, limit=100) == both.search(query, limit=100, mode=SearchMode.TEXT)
    assert alone.find_sources(query, limit=100) == both.find_sources(query, limit=100, mode=SearchMode.TEXT)


def test_before_there_are_vectors_words_find_alone(empty: ProjectIndex) -> None:
    embedder = HashingEmbedder()
    write(empty, cut("a.py", "one two", "two"), cut("b.py", "two three two"))
    searcher = Searcher(empty, embedder)
    by_text = searcher.search("two", limit=10, mode=SearchMode.TEXT)
    assert len(by_text) == 3
    assert searcher.search("two", limit=10) == by_text
    empty.use_embedder(embedder.fingerprint, embedder.dimensions)
    assert searcher.search("two", limit=10) == by_text


def test_while_vectors_are_made_what_has_none_is_found_by_its_words(empty: ProjectIndex) -> None:
    embedder = HashingEmbedder()
    write(empty, cut("a.py", "one two"), cut("z.py", "nothing like it"))
    fill(empty, embedder)
    write(empty, cut("b.py", "two three"))
    by_path = {hit.chunk.path.name: hit.why for hit in Searcher(empty, embedder).search("two", limit=10)}
    assert {"text", "vector"} <= by_path["a.py"].keys()
    assert "text" in by_path["b.py"]
    assert "vector" not in by_path["b.py"]


def test_a_question_without_a_word_that_vectors_know_is_one_for_words(meanings: ProjectIndex) -> None:
    alone, both = Searcher(meanings), Searcher(meanings, _meanings())
    assert both.search("the capacitor", limit=10) == alone.search("the capacitor", limit=10)
    assert both.find_sources("the capacitor", limit=10) == alone.find_sources("the capacitor", limit=10)


# --- Places that a question names -------------------------------------------------------------------------

_TRACES = {
    "python": (
        (
            'Traceback (most recent call last):\n  File "/build/me/x/src/jobs/queue.py", line 14, in pop\n'
            "    return self.first()\nIndexError: the list is empty"
        ),
        "src/jobs/queue.py",
    ),
    "python test": (
        '  File "C:\\me\\tests\\jobs\\test_queue.py", line 14, in test_pop\n    queue.first()',
        "tests/jobs/test_queue.py",
    ),
    "javascript": (
        (
            "TypeError: list is empty\n    at Queue.first (/srv/app/build/lib/queue.js:14:21)\n"
            "    at node:internal/main/run_main_module:23:47"
        ),
        "lib/queue.js",
    ),
    "go": (
        "panic: empty\n\ngoroutine 1 [running]:\nmain.first(...)\n\t/go/src/x/cmd/queue.go:14 +0x1d",
        "cmd/queue.go",
    ),
    "java": (
        "java.util.NoSuchElementException: list is empty\n\tat com.example.Queue.first(Queue.java:14)",
        "java/com/example/Queue.java",
    ),
    "c#": (
        (
            "System.InvalidOperationException: list is empty\n"
            "   at App.Queue.First() in C:\\build\\Source\\App\\Queue.cs:line 14"
        ),
        "App/Queue.cs",
    ),
    "ruby": ("app/queue.rb:14:in `first': the list is empty (IndexError)", "app/queue.rb"),
}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectIndex]:
    """Files of three chunks of ten lines, and one that has all that the traces say."""
    folder = tmp_path_factory.mktemp("traced")
    decoy = cut(
        "src/errors.py",
        'def first(self):\n    if not self.items:\n        raise IndexError("the list is empty")',
    )
    ten_lines = [f"step_{number}()\n" * 9 + "done()" for number in range(3)]
    with closing(ProjectIndex.open(folder / "index.sqlite", fingerprint="f")) as index:
        files = [path for _, path in _TRACES.values()]
        packages = [f"src/package{number}/__init__.py" for number in range(6)]
        write(index, decoy, *(cut(path, *ten_lines) for path in [*files, *packages, "tests/other/queue.py"]))
        fill(index, HashingEmbedder())
        yield index


@pytest.mark.parametrize("language", _TRACES)
@pytest.mark.parametrize("embedder", [None, HashingEmbedder()])
def test_a_pasted_trace_leads_to_its_line(
    traced: ProjectIndex, language: str, embedder: HashingEmbedder | None
) -> None:
    trace, path = _TRACES[language]
    searcher = Searcher(traced, embedder)
    (listed,) = searcher.search(f"Why does this happen?\n{trace}", limit=1)
    assert listed.chunk.location == f"{path}:11-20"
    sources = searcher.find_sources(f"Why does this happen?\n{trace}", limit=3)
    assert [source for source in sources if _overlap(source.chunk, listed.chunk)]


@pytest.mark.parametrize("mode", SearchMode)
def test_a_named_place_is_found_in_every_mode(traced: ProjectIndex, mode: SearchMode) -> None:
    hits = Searcher(traced, HashingEmbedder()).search("tests/jobs/test_queue.py:14", limit=1, mode=mode)
    assert [hit.chunk.location for hit in hits] == ["tests/jobs/test_queue.py:11-20"]


def test_a_named_place_is_found_if_nothing_else_is(traced: ProjectIndex) -> None:
    hits = Searcher(traced).search("tests/jobs/test_queue.py:14", limit=10, mode=SearchMode.VECTOR)
    assert [hit.chunk.location for hit in hits] == ["tests/jobs/test_queue.py:11-20"]


def test_a_named_file_leads_to_that_file(traced: ProjectIndex) -> None:
    searcher = Searcher(traced)
    for find in (searcher.search, searcher.find_sources):
        assert _paths(find("what happens in tests/other/queue.py?", limit=1)) == ["tests/other/queue.py"]


def test_a_name_that_many_files_have_names_none(traced: ProjectIndex) -> None:
    searcher = Searcher(traced)
    assert not [hit for hit in searcher.search("__init__.py:14", limit=100) if "named" in hit.why]
    best, *others = searcher.search("/srv/src/package4/__init__.py:14", limit=100)
    assert best.chunk.location == "src/package4/__init__.py:11-20"
    assert not [hit for hit in others if "named" in hit.why]


# --- Uses of a name, and the project as a whole -----------------------------------------------------------


@pytest.fixture
def senders(empty: ProjectIndex) -> ProjectIndex:
    defining = "def send_all(box):\n    for each in box:\n        each.send_all_of_it()"
    using = "\n".join(
        ["class Post:", "    def go(self):", *["        wait()"] * 12, "        send_all(self.box)"]
    )
    write(
        empty,
        cut("post/sending.py", defining, symbols=["send_all"]),
        cut("post/office.py", f"{using}\n\n\n", using, "wait()", symbols=["Post", "Post"]),
        cut("README", "What this is for: sending.", language=None),
        cut("readme.py", "def readme():\n    return send_all", symbols=["readme"]),
        cut("tests/test_sending.py", "def test():\n    send_all([])", symbols=["test"]),
    )
    fill(empty, HashingEmbedder())
    return empty


@pytest.mark.parametrize("mode", [SearchMode.HYBRID, SearchMode.TEXT])
def test_the_uses_of_a_name_come_first(senders: ProjectIndex, mode: SearchMode) -> None:
    searcher = Searcher(senders, HashingEmbedder())
    sources = searcher.find_sources("Who calls send_all?", limit=100, mode=mode)
    uses = [hit for hit in sources if "asked for" in hit.why]
    assert uses == sources[: len(uses)]
    assert sorted(_paths(uses)) == [
        "post/office.py",
        "post/office.py",
        "readme.py",
        "tests/test_sending.py",
    ]
    assert all("send_all" in use.chunk.text for use in uses)
    assert "post/sending.py" in _paths(sources[len(uses) :])
    listed = searcher.search("Who calls send_all?", limit=100, mode=mode)
    assert "asked for" in listed[0].why
    for hits in (sources, listed):
        _check_apart(hits)


def test_a_name_that_nothing_uses_is_searched_for_like_any_other(senders: ProjectIndex) -> None:
    hits = Searcher(senders).find_sources("Who calls send_all_of_them?", limit=10)
    assert hits
    assert not [hit for hit in hits if "asked for" in hit.why]


@pytest.mark.parametrize("mode", [SearchMode.HYBRID, SearchMode.TEXT])
def test_a_question_about_the_whole_shows_the_readme_and_the_main_files(
    senders: ProjectIndex, mode: SearchMode
) -> None:
    searcher = Searcher(senders, HashingEmbedder())
    for find in (searcher.search, searcher.find_sources):
        hits = find("How is this project organised?", limit=100, mode=mode)
        shown = [hit for hit in hits if "asked for" in hit.why or "overview" in hit.why]
        assert _paths(shown) == ["README", "post/office.py", "post/sending.py", "readme.py"]
        assert shown == hits[: len(shown)]
        _check_apart(hits)


def test_a_readme_that_is_code_is_shown_once(empty: ProjectIndex) -> None:
    write(empty, cut("readme.py", "def readme():\n    return 1", symbols=["readme"]), cut("a.py", "x = 1"))
    hits = Searcher(empty).find_sources("How is this project organised?", limit=10)
    assert _paths(hits) == ["readme.py", "a.py"]


# --- Whatever the project and the question ----------------------------------------------------------------

_WORDS = ["send", "sent", "cookie", "jar", "Session", "send_all()", "def send():", "    return jar", "", "}"]
_TEXTS = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=12).map("\n".join)
_NAMES = ["src/send.py", "src/jar.ts", "lib/jar.js", "tests/test_jar.py", "README.md", "a/__init__.py"]
_PROJECTS = st.dictionaries(
    st.sampled_from(_NAMES), st.lists(_TEXTS, min_size=1, max_size=4), min_size=1, max_size=5
).map(
    lambda drawn: [
        cut(name, *texts, symbols=["send", "Session.jar"][: len(texts)]) for name, texts in drawn.items()
    ]
)
_QUESTIONS = st.sampled_from(
    [
        "how is a cookie sent",
        "`Session.jar`",
        "who calls send?",
        "Where is send_all used?",
        "How is this project organised?",
        "src/send.py:2 and the jar",
        "tests of the jar",
        "zebra",
    ]
)


@pytest.fixture(scope="module")
def hashing() -> HashingEmbedder:
    return HashingEmbedder()


@costly
@given(_PROJECTS, _QUESTIONS, st.sampled_from(SearchMode), st.integers(1, 8))
def test_every_hit_is_of_the_project_and_its_reasons_add_up(
    hashing: HashingEmbedder, files: list[IndexedFile], query: str, mode: SearchMode, limit: int
) -> None:
    lines = {file.path: "\n".join(chunk.text for chunk in file.chunks).split("\n") for file in files}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        searchers = []
        for name, order in (("one", files), ("other", files[::-1])):
            index = ProjectIndex.open(folder / name, fingerprint="f")
            stack.enter_context(closing(index))
            write(index, *order)
            fill(index, hashing)
            searchers.append(Searcher(index, hashing))
        finds: list[tuple[Callable[..., list[Hit]], Callable[..., list[Hit]]]] = [
            (searchers[0].search, searchers[1].search),
            (searchers[0].find_sources, searchers[1].find_sources),
        ]
        for find, same in finds:
            hits = find(query, limit=limit, mode=mode)
            assert len(hits) <= limit
            _check_apart(hits)
            for hit in hits:
                assert hit.score == pytest.approx(sum(hit.why.values()))
                chunk = hit.chunk
                assert chunk.text.split("\n") == lines[chunk.path][chunk.start_line - 1 : chunk.end_line]
            again = same(query, limit=limit, mode=mode)
            assert [hit.score for hit in again] == pytest.approx([hit.score for hit in hits])
            assert [hit.chunk.location for hit in again] == [hit.chunk.location for hit in hits]
        scores = [hit.score for hit in searchers[0].find_sources(query, limit=limit, mode=mode)]
        assert scores == pytest.approx(sorted(scores, reverse=True))


def test_a_model_first_reads_the_line_that_a_trace_names(tmp_path: Path) -> None:
    body = "\n".join(f"    step_{number}()" for number in range(2, 60))
    files = {
        "jobs.py": f"def run():\n{body}\n",
        "errors.py": "def queue_is_empty():\n    raise IndexError('pop from an empty queue')\n",
    }
    question = 'File "/build/me/jobs.py", line 40, in run\nIndexError: pop from an empty queue'
    with indexed_project(tmp_path, files) as index:
        hits = Searcher(index).find_sources(question, limit=10)

    first = hits[0].chunk
    assert first.path.name == "jobs.py"
    assert first.text.split("\n")[40 - first.start_line] == "    step_40()"
    lines = [
        line
        for hit in hits
        if hit.chunk.path == first.path
        for line in range(hit.chunk.start_line, hit.chunk.end_line + 1)
    ]
    assert len(lines) == len(set(lines)), "no line is shown twice"
