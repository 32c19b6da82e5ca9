"""What comes in, checked once, so that nothing further in has to ask again."""

import unicodedata
from typing import Annotated, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from coding_assistant.chat.attachments import (
    MOST_ATTACHED_CHARACTERS,
    MOST_ATTACHMENTS,
    Attached,
    AttachedFile,
    AttachedText,
    require_size,
)
from coding_assistant.errors import InvalidAttachment, InvalidText

MAX_QUESTION_CHARACTERS = 32_000
"""About 8,000 tokens: longer than any context in the catalog can hold beside an answer."""

MAX_QUERY_CHARACTERS = 2_000
"""Of a search, whose words and names are few."""

MAX_NAME_CHARACTERS = 200

MAX_MODEL_CHARACTERS = 4_096
"""Of a model's name, which may be a path."""

MAX_PATH_CHARACTERS = 4_096
"""Of a file that is attached."""

MAX_KEY_CHARACTERS = 255
"""Of an ``Idempotency-Key``: what the database keeps."""

MAX_IMPORT_BYTES = 32 * 1024 * 1024
"""Of a conversation: some thousand turns. A turn with twelve sources, each cited, takes about 30 kB."""


def normalise_text(text: str, *, what: str, limit: int) -> str:
    """Return the text in NFC without surrounding blanks.

    Raises ``InvalidText`` for what no text may hold, so that nothing further in has to ask again:
    emptiness, NUL (PostgreSQL refuses it), lone surrogates (they have no UTF-8), excess length.
    """
    if len(text) > limit:
        raise InvalidText(
            f"The {what} has {len(text):,} characters; at most {limit:,} are read.",
            hint="Shorten it, or ask about a file that holds the text.",
        )
    _require_plain(text, what=what)
    normalised = unicodedata.normalize("NFC", text).strip()
    if not normalised:
        raise InvalidText(f"The {what} is empty.", hint=f"Write a {what}.")
    return normalised


def _require_plain(text: str, *, what: str) -> None:
    if "\0" in text:
        raise InvalidText(f"The {what} contains a NUL character.", hint="Remove it and try again.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidText(f"The {what} contains half of a surrogate pair.", hint="Send valid Unicode text.")


def normalise_query(text: str) -> str:
    """Return what is to be searched for as ``normalise_text`` does, whoever asks."""
    return normalise_text(text, what="query", limit=MAX_QUERY_CHARACTERS)


def _question(text: str) -> str:
    return normalise_text(text, what="question", limit=MAX_QUESTION_CHARACTERS)


def _name(text: str) -> str:
    return normalise_text(text, what="name", limit=MAX_NAME_CHARACTERS)


def _model(text: str) -> str:
    """Return the name as it was given, for the letters of a path must stay as they are."""
    normalise_text(text, what="model's name", limit=MAX_MODEL_CHARACTERS)
    return text


def _attached_text(text: str) -> str:
    """Return the text as it was given: its lines are cited, and a diff's may begin with blanks."""
    _require_plain(text, what="attached text")
    if not text.strip():
        raise InvalidText("The attached text is empty.", hint="Attach nothing, or a text with words in it.")
    return text


def _attached_name(name: str) -> str:
    """Return the name of a text; it stands where others have a path, and must not look like one."""
    normalised = normalise_text(name, what="attachment's name", limit=MAX_NAME_CHARACTERS)
    if not normalised.isprintable() or {"/", "\\"}.intersection(normalised):
        raise InvalidText("The attachment's name has a slash or a line break in it.", hint="Call it `diff`.")
    return normalised


def _attached_path(path: str) -> str:
    normalise_text(path, what="attachment's path", limit=MAX_PATH_CHARACTERS)
    return path


Question: TypeAlias = Annotated[str, AfterValidator(_question)]
SearchQuery: TypeAlias = Annotated[str, AfterValidator(normalise_query)]
Name: TypeAlias = Annotated[str, AfterValidator(_name)]
ModelName: TypeAlias = Annotated[str, AfterValidator(_model)]
TextToAttach: TypeAlias = Annotated[str, AfterValidator(_attached_text)]
NameToAttach: TypeAlias = Annotated[str, AfterValidator(_attached_name)]
PathToAttach: TypeAlias = Annotated[str, AfterValidator(_attached_path)]
IdempotencyKey: TypeAlias = Annotated[str, Field(pattern=rf"^[\x21-\x7e]{{1,{MAX_KEY_CHARACTERS}}}$")]
Identifier: TypeAlias = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]


class Request(BaseModel):
    """What comes in: an unknown field is an error, for it is a misspelt one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Attachment(Request):
    """What comes with a question: lines of a file of the project, or a text under a name of its own."""

    path: PathToAttach | None = Field(
        default=None, description="A file, relative to the project's folder, or absolute and inside it."
    )
    start_line: int | None = Field(default=None, ge=1, description="Alone it is one line; none: all of them.")
    end_line: int | None = Field(default=None, ge=1)
    name: NameToAttach | None = Field(default=None, description="What a text is cited by: `diff`.")
    text: TextToAttach | None = Field(
        default=None, description="A text that is in no file of the project: a diff, a stack trace, a log."
    )

    @model_validator(mode="after")
    def _require_one_kind(self) -> Self:
        is_file = self.path is not None and self.name is None and self.text is None
        is_text = self.path is None and self.name is not None and self.text is not None
        if not (is_file or (is_text and self.start_line is None and self.end_line is None)):
            raise InvalidAttachment(
                "An attachment has either a path, perhaps with lines, or a name and a text.",
                hint='For instance {"path": "src/a.py", "start_line": 10, "end_line": 40}, or'
                ' {"name": "diff", "text": "…"}.',
            )
        if self.end_line is not None and (self.start_line is None or self.start_line > self.end_line):
            raise InvalidAttachment(
                "An attachment's end_line needs a start_line that is not behind it.",
                hint="Lines are counted from 1.",
            )
        return self

    @property
    def attached(self) -> Attached:
        """Return it as the chat knows it."""
        if self.path is not None:
            return AttachedFile(self.path, self.start_line, self.end_line)
        return AttachedText(self.name or "", self.text or "")


class QueryRequest(Request):
    """A question, and where it belongs."""

    query: Question = Field(description="The question, in plain words.")
    session_id: Identifier | None = Field(default=None, description="A session; none starts a new one.")
    conversation_id: Identifier | None = Field(
        default=None, description="A conversation to go on with; none starts a new one."
    )
    project: Name | None = Field(
        default=None, description="A project's id or name; none takes the conversation's or the default one."
    )
    model: ModelName | None = Field(
        default=None,
        description="A model of the catalog or a path to a .gguf file, with which the conversation then goes"
        " on; none takes the conversation's, or else the settings'.",
    )
    stream: bool = Field(default=False, description="Answer with server-sent events.")
    deep: bool = Field(
        default=False,
        description="Search in up to three further rounds, each by names in what was found before, and show"
        " up to twice as much code; the answer begins later by as much.",
    )
    max_tokens: int | None = Field(default=None, ge=1, le=32_768, description="At most so long an answer.")
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    attachments: tuple[Attachment, ...] = Field(
        default=(),
        max_length=MOST_ATTACHMENTS,
        description="What the question is about: shown to the model before all that is found, and cited like"
        f" it. Texts of at most {MOST_ATTACHED_CHARACTERS:,} characters together.",
    )
    diff: bool = Field(
        default=False, description="Return the answer's code as a unified diff of the working tree, too."
    )

    @field_validator("attachments")
    @classmethod
    def _require_size(cls, attached: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
        require_size(sum(len(each.text or "") for each in attached))
        return attached


class PrefetchRequest(Request):
    """What is being typed, so that the model can read ahead."""

    text: Question = Field(description="As much of the question as there is.")
    conversation_id: Identifier | None = Field(
        default=None, description="The conversation that it will be asked in; none: a new one."
    )
    project: Name | None = Field(
        default=None, description="A project's id or name; none takes the conversation's or the default one."
    )
    model: ModelName | None = Field(
        default=None, description="The model that will be asked, named as in a question; it is not kept."
    )


class ProjectRequest(Request):
    """A folder to make known."""

    root: str = Field(min_length=1, max_length=4096, description="The folder's absolute path.")


class ConversationPatch(Request):
    """What to change of a conversation; a field that is absent stays as it is."""

    title: Name | None = None
    pinned: bool | None = None
    archived: bool | None = None
    model: ModelName | None = Field(
        default=None,
        description="The model to go on with: a name of the catalog or a path; null: the settings' again.",
    )


class SessionClearRequest(Request):
    """The session to clear."""

    session_id: Identifier
