from pathlib import PurePosixPath

from retrieval_bench.questions import Gold, Question, cited_in_release, in_release


def question(*paths: str) -> Question:
    return Question("q", "corpus", "where?", "semantic", tuple(Gold(PurePosixPath(path)) for path in paths))


def release(*paths: str) -> list[PurePosixPath]:
    return [PurePosixPath(path) for path in paths]


def gold_of(found: Question | None) -> list[str]:
    assert found is not None
    return [str(gold.path) for gold in found.gold]


def test_a_file_under_another_prefix_is_found_by_its_end() -> None:
    paths = release("src/v4/core/api.ts", "api.ts")
    assert gold_of(in_release(question("packages/zod/src/v4/core/api.ts"), paths)) == ["src/v4/core/api.ts"]


def test_the_very_path_comes_before_one_that_only_ends_like_it() -> None:
    paths = release("lib/axios.js", "dist/lib/axios.js")
    assert gold_of(in_release(question("lib/axios.js"), paths)) == ["lib/axios.js"]


def test_a_question_that_lacks_one_of_its_files_is_left_out() -> None:
    assert in_release(question("a.py", "b.py"), release("a.py")) is None


def test_a_name_alone_is_no_end_of_another_name() -> None:
    assert in_release(question("utils.py"), release("src/my_utils.py")) is None


def test_a_citation_means_every_file_it_may_mean_but_tests() -> None:
    paths = release("src/app.py", "src/sansio/app.py", "tests/app.py")
    assert gold_of(cited_in_release(question("app.py", "os.py"), paths)) == [
        "src/app.py",
        "src/sansio/app.py",
    ]


def test_citations_of_nothing_in_the_project_leave_the_question_out() -> None:
    assert cited_in_release(question("os.py"), release("src/app.py")) is None
