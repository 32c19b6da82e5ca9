from collections.abc import Iterator
from contextlib import closing

import pytest

from coding_assistant.index.build import index_fingerprint
from coding_assistant.index.search import find_sources, search
from coding_assistant.index.store import ProjectIndex
from support.indexing import bring_up_to_date

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


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectIndex]:
    folder = tmp_path_factory.mktemp("search")
    root = folder / "project"
    files = {
        "src/cookies.py": _JAR.format(
            methods="".join(_METHOD.format(name=n) for n in ("set", "drop", "renew", "copy"))
        ),
        "src/sessions.py": "class Session:\n    def send(self):\n        return self.jar.apply(self)\n",
        "tests/test_cookies.py": "def test_cookie():\n    assert cookie == cookie.cookie(cookies)\n",
        "README.md": "# Cookies\n\nCookies are kept in a cookie jar. Cookie, cookie, cookie.\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with closing(ProjectIndex.open(folder / "index.sqlite", fingerprint=index_fingerprint())) as index:
        bring_up_to_date(index, root)
        yield index


def test_a_list_shows_every_file_before_a_second_chunk_of_any(index: ProjectIndex) -> None:
    paths = [hit.chunk.path.as_posix() for hit in search(index, "where are cookies set", limit=10)]
    files = len(set(paths))
    assert files == 3
    assert len(set(paths[:files])) == files
    assert paths[0] == "src/cookies.py"


def test_sources_may_be_several_of_one_file(index: ProjectIndex) -> None:
    paths = [
        hit.chunk.path.as_posix() for hit in find_sources(index, "how is a cookie set and dropped", limit=3)
    ]
    assert paths == ["src/cookies.py"] * 3


def test_the_named_definition_comes_first(index: ProjectIndex) -> None:
    for find in (search, find_sources):
        assert find(index, "Session.send", limit=5)[0].chunk.path.as_posix() == "src/sessions.py"


@pytest.mark.parametrize("query", ["", "?", "what is it", "zebra", "\x00", "\ud800", '" OR "'])
def test_nothing_is_found_where_nothing_matches(index: ProjectIndex, query: str) -> None:
    assert search(index, query, limit=10) == []
    assert find_sources(index, query, limit=10) == []


def test_the_limit_holds(index: ProjectIndex) -> None:
    assert len(search(index, "cookie", limit=2)) == 2
    assert len(find_sources(index, "cookie", limit=2)) == 2


def test_a_hit_says_why(index: ProjectIndex) -> None:
    best, *_ = search(index, "CookieJar", limit=5)
    assert best.why["definition"] > 0
    assert best.score == pytest.approx(sum(best.why.values()))
