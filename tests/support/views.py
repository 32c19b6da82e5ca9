"""Values of the contract for tests of the skins."""

from datetime import UTC, datetime

from coding_assistant.contract import (
    CitationView,
    ConversationView,
    DroppedView,
    HitView,
    MessageView,
    QueryResponse,
    ReceiptView,
    SectionView,
    SourceView,
    StartedEvent,
    TimingsView,
)
from coding_assistant.domain import ChunkKind, CitationState, Finish

CONVERSATION_ID = "ab" * 16
MOMENT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

STARTED = StartedEvent(
    generation_id="9" * 32,
    session_id="5" * 32,
    conversation_id=CONVERSATION_ID,
    message_id="9" * 32 + "-a",
    model="a-model",
)


def source(number: int = 1, *, text: str = "def decide():\n    return 42") -> SourceView:
    return SourceView(
        number=number,
        path="src/deciding.py",
        start_line=3,
        end_line=4,
        symbol="decide",
        language="python",
        text=text,
    )


def citation(number: int = 1, *, state: CitationState = CitationState.VERIFIED) -> CitationView:
    return CitationView(
        number=number,
        path="src/deciding.py",
        start_line=3,
        end_line=4,
        symbol="decide",
        state=state,
        verified=state is CitationState.VERIFIED,
    )


def response(
    text: str = "It is decided in `decide` [1].",
    *,
    finish: Finish = Finish.COMPLETE,
    citations: list[CitationView] | None = None,
    unknown: list[int] | None = None,
) -> QueryResponse:
    return QueryResponse(
        response=text,
        session_id=STARTED.session_id,
        conversation_id=CONVERSATION_ID,
        message_id=STARTED.message_id,
        model="a-model",
        citations=[citation()] if citations is None else citations,
        unknown_citations=unknown or [],
        sources=[source()],
        receipt=ReceiptView(
            limit=8192,
            reserved=1024,
            used=1860,
            sections=[SectionView(name="sources", tokens=1500), SectionView(name="question", tokens=360)],
            dropped=[DroppedView(what="src/other.py:1-9", reason="no room", tokens=400)],
            cached=1240,
            new=620,
            freshness="up to date",
        ),
        finish_reason=finish,
        timings=TimingsView(
            searching=0.1, loading=0, reading=4, writing=2, first_token=4.1, total=6.1, written_tokens=40
        ),
        created_at=MOMENT,
    )


def conversation(conversation_id: str = CONVERSATION_ID, *, day: int = 1) -> ConversationView:
    moment = MOMENT.replace(day=day)
    return ConversationView(
        conversation_id=conversation_id,
        session_id=STARTED.session_id,
        project_id="7" * 32,
        title="Where is it decided?",
        created_at=moment,
        last_updated=moment,
        pinned=False,
        archived=False,
        message_count=2,
    )


def answer_message(content: str) -> MessageView:
    return MessageView(id=STARTED.message_id, turn=1, role="assistant", content=content, created_at=MOMENT)


def hit() -> HitView:
    return HitView(
        path="src/deciding.py",
        start_line=3,
        end_line=4,
        symbol="decide",
        kind=ChunkKind.FUNCTION,
        language="python",
        score=1.5,
        why={"text": 1.5},
        text="def decide():\n    return 42",
    )
