"""What comes with a question, from the request to the answer's citations and the diff of its code."""

from pathlib import Path

import anyio
import pytest

from coding_assistant.chat.attachments import MOST_ATTACHED_CHARACTERS, MOST_ATTACHMENTS
from coding_assistant.contract import Attachment, QueryRequest
from coding_assistant.domain import CitationState, SourceOrigin
from coding_assistant.errors import InvalidAttachment
from coding_assistant.settings import Settings
from support.http_server import in_process, make_project
from support.opened import Opener, opener
from support.scripted_engine import ScriptedEngine
from support.shop import write_shop

DIFF = """\
--- a/prices.py
+++ b/prices.py
@@ -4,2 +4,2 @@
 def gross_price(net):
-    return net * VAT_RATE
+    return net * (1 + VAT_RATE)
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_shop(tmp_path)


@pytest.fixture
def opened(tmp_path: Path, project: Path) -> Opener:
    return opener(Settings(home=tmp_path / "home", slots=2), project)


@pytest.mark.anyio
async def test_attached_lines_come_first_and_are_cited_like_any_source(opened: Opener) -> None:
    engine = ScriptedEngine("`gross_price` adds the tax [1].")
    async with opened(engine) as assistant:
        attachment = Attachment(path="prices.py", start_line=4, end_line=5)
        response = await assistant.query(QueryRequest(query="Explain this.", attachments=(attachment,)))
        history = await assistant.history(response.conversation_id)

    first = response.sources[0]
    assert (first.path, first.start_line, first.end_line) == ("prices.py", 4, 5)
    assert first.origin is SourceOrigin.ATTACHED
    assert "[1] prices.py:4-5 (attached to the question)\n4: def gross_price" in engine.prompt_text(
        engine.requests[0]
    )
    assert [(each.number, each.state) for each in response.citations] == [(1, CitationState.VERIFIED)]
    assert history.messages[1].sources == response.sources


@pytest.mark.anyio
async def test_a_given_diff_finds_the_code_that_it_changes_and_a_citation_of_it_is_given(
    opened: Opener,
) -> None:
    engine = ScriptedEngine("It adds one in `gross_price` [1].")
    async with opened(engine) as assistant:
        attachment = Attachment(name="diff", text=DIFF)
        response = await assistant.query(QueryRequest(query="Review this.", attachments=(attachment,)))

    given, *found = response.sources
    assert (given.path, given.origin, given.start_line, given.end_line) == ("diff", SourceOrigin.GIVEN, 1, 6)
    assert found[0].path == "prices.py"
    cited = {each.number: each for each in response.citations}
    assert (cited[1].state, cited[1].verified) == (CitationState.GIVEN, False)


@pytest.mark.anyio
async def test_a_follow_up_reads_the_attachment_from_the_cache(opened: Opener) -> None:
    engine = ScriptedEngine("It adds the tax [1].", "Because [1].")
    async with opened(engine) as assistant:
        attachments = (Attachment(path="prices.py"), Attachment(name="diff", text=DIFF))
        first = await assistant.query(QueryRequest(query="Explain this.", attachments=attachments))
        second = await assistant.query(
            QueryRequest(query="and why is that?", conversation_id=first.conversation_id)
        )

    assert second.receipt is not None
    assert second.receipt.cached >= len(engine.requests[0].tokens)
    assert engine.prompt_text(engine.requests[1]).count("VAT_RATE = 0.19") == 1


@pytest.mark.anyio
async def test_lines_for_which_there_is_no_room_are_told(opened: Opener, project: Path) -> None:
    engine = ScriptedEngine("Many lines [1].")
    (project / "long.py").write_text("".join(f"value_{number} = {number}\n" for number in range(4_000)))
    async with opened(engine) as assistant:
        attachment = Attachment(path="long.py")
        response = await assistant.query(QueryRequest(query="Explain this.", attachments=(attachment,)))

    receipt, shown = response.receipt, response.sources[0]
    assert receipt is not None
    assert receipt.used <= receipt.limit - receipt.reserved
    assert shown.start_line == 1
    assert [each.what for each in receipt.dropped] == [f"source long.py:{shown.end_line + 1}-4000"]


@pytest.mark.anyio
async def test_what_is_refused_leaves_no_conversation_behind(opened: Opener) -> None:
    async with opened(ScriptedEngine()) as assistant:
        request = QueryRequest(query="Explain this.", attachments=(Attachment(path="no.py"),))
        with pytest.raises(InvalidAttachment):
            await assistant.query(request)
        assert await assistant.conversations() == []


@pytest.mark.anyio
async def test_code_of_an_answer_comes_with_its_file_and_as_a_diff_that_git_applies(
    opened: Opener, project: Path
) -> None:
    code = "def gross_price(net, rate=VAT_RATE):\n    return net * (1 + rate)"
    async with opened(ScriptedEngine(f"So:\n```python\n{code}\n```\nDone [1].")) as assistant:
        attachment = Attachment(path="prices.py")
        request = QueryRequest(query="Let this take a rate.", attachments=(attachment,), diff=True)
        response = await assistant.query(request)

    (block,) = response.code
    assert (block.language, block.path, block.text, block.complete) == ("python", "prices.py", code, True)
    assert response.diff
    git = ["git", "apply", "-"]
    await anyio.run_process(git, cwd=project, input=response.diff.encode())
    assert (project / "prices.py").read_text() == f"VAT_RATE = 0.19\n\n\n{code}\n"


@pytest.mark.parametrize(
    ("attachments", "status", "says"),
    [
        ([{"path": ".env"}], 422, "holds secrets"),
        ([{"path": "../x.py"}], 422, "not a file inside the project"),
        ([{"path": "a.py", "text": "x", "name": "x"}], 422, "either a path"),
        ([{"path": "a.py", "end_line": 3}], 422, "needs a start_line"),
        ([{"name": "a/b", "text": "x"}], 422, "slash"),
        ([{"name": "log", "text": " \n"}], 422, "empty"),
        ([{"name": "log", "text": "a\0"}], 422, "NUL"),
        ([{"name": "log", "text": "x" * (MOST_ATTACHED_CHARACTERS + 1)}], 413, "200,001 characters"),
        ([{"path": "a.py"}] * (MOST_ATTACHMENTS + 1), 422, "at most 16"),
    ],
)
def test_over_http_what_cannot_be_attached_is_refused_with_its_reason(
    tmp_path: Path, attachments: list[dict[str, object]], status: int, says: str
) -> None:
    with in_process(tmp_path, ScriptedEngine()) as server:
        (make_project(tmp_path) / ".env").write_text("TOKEN=1\n")
        body = {"query": "Explain this.", "attachments": attachments}
        refused = server.json("POST", "/chat/query", body)

    assert (refused.status, says in refused.body.decode()) == (status, True), refused.body
