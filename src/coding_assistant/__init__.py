"""A private coding assistant for your own code, on your own machine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coding_assistant.blocking import Assistant as Assistant
    from coding_assistant.contract import QueryRequest as QueryRequest
    from coding_assistant.contract import QueryResponse as QueryResponse

__all__ = ["Assistant", "QueryRequest", "QueryResponse"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``coding-assistant version`` needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Imported here for start-up time: the assistant brings in SQLAlchemy and pydantic, 0.4 s.
    from coding_assistant import blocking, contract  # noqa: PLC0415

    return getattr(blocking if name == "Assistant" else contract, name)
