"""Where questions and code go, where a running server answers: by its settings, not by this command's."""

from coding_assistant.cli.connection import Connection
from coding_assistant.cli.screen import Screen, Span


def address_of_server(connection: Connection, model: str | None = None) -> str:
    """Return where the running server's model runs, the usual one if none is named; empty: here."""
    calls, bridge = connection.calls, connection.bridge
    if model is not None:
        return bridge.run(calls.model(model)).address
    return next((each.address for each in bridge.run(calls.models()) if each.selected), "")


def say_where_questions_go(connection: Connection, model: str | None, screen: Screen) -> None:
    """Say, on a terminal or not, if what is asked of the running server leaves the private network."""
    # It brings the HTTP client's library, which `--help` does not need.
    from coding_assistant.inference.remote_address import RemoteAddress  # noqa: PLC0415

    address = address_of_server(connection, model)
    if address and (notice := RemoteAddress.parse(address).notice):
        screen.line(Span(notice, "yellow"))
