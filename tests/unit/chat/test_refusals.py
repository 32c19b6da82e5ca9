import pytest

from coding_assistant.chat.refusals import says_not_found

REFUSALS = [
    "The sources do not mention a Redis cache.",
    "The provided sources don\N{RIGHT SINGLE QUOTATION MARK}t contain information about coroutines.",
    "The sources provided do not specify a method for bumping versions.",
    "The provided code does not include a macro that takes a lock.",
    "The code provided above does not define such a class [1].",
    "None of the sources shows how a tree is rebalanced.",
    "There is no class called `RedisBytecodeCache` in this project.",
    "There is no bytecode cache class that stores compiled templates in Redis.",
    "There isn't an option that makes pluggy await coroutines.",
    "There are no methods in semver which bump a version.",
    "It seems that there is no filter for Markdown in the project.",
    "No such class is defined in the sources.",
    "No method that bumps a version is mentioned.",
    "No information about clipboards was found in the sources.",
    "The project has no such option.",
    "The word Redis is not mentioned in the provided sources.",
    "A lock macro is not explicitly defined in the given excerpts.",
    "`HASH_LOCK` does not exist in this project.",
    "I could not find a function that does this.",
    "I'm sorry, but the sources do not hold the answer.",
    "I cannot determine this from the sources.",
    "I am unable to find such a macro.",
    "Based on the given context, the answer cannot be found in the sources.",
    "The answer was not found.",
    "Not found: the sources tell of file systems alone.",
    "**The sources do not hold the answer.**",
    "The question asks for a lock. The sources do not mention one.",
    "The documentation does not explicitly state which database is used.",
    "The project does not provide a way to upload results.",
]

ANSWERS = [
    "It does not raise an error; the value is skipped [1].",
    "A name is not required: the id of the object is used.",
    "There is no limit on the length [2].",
    "There is no error, the entry is left out.",
    "If the template is not found in the project, `TemplateNotFound` is raised.",
    "It raises `TemplateNotFound` when the file does not exist in the repository.",
    "`TemplateNotFound` is raised, and nothing is loaded.",
    "The method returns None if the key is not present.",
    "No, a pre-release is not matched by `*`.",
    "The attribute is not found on the object, so an undefined object is returned.",
    "It cannot be changed after the start.",
    "The file does not contain a trailing newline afterwards.",
    "The key is not found in the table and a new bucket is allocated.",
    "The library does not allow a leading zero there.",
    "The parser does not support nested brackets deeper than 1000 levels.",
    "No bytes are copied; the text is stored inline.",
    "`exit(-1)` is called because there is no memory left.",
    "It is decided in `find`, which returns -1 where it finds nothing.",
    "The function is in `app.py` [1]. It returns whether the source was read.",
    "",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_an_answer_that_finds_nothing_is_known_by_its_words(answer: str) -> None:
    assert says_not_found(answer)


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_is_said_of_the_code_is_no_refusal(answer: str) -> None:
    assert not says_not_found(answer)


def test_only_the_beginning_of_an_answer_refuses() -> None:
    assert not says_not_found(
        "It is `load` in `app.py`. It reads the file. The sources do not mention who calls it."
    )
