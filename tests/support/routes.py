"""Every route of the HTTP API, for the tests that must hold for all of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastapi import FastAPI

UNLISTED = ("/", "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json", "/nowhere")
"""Addresses that the OpenAPI document does not name; the last is not served."""


@dataclass(frozen=True, slots=True)
class KnownRoute:
    """A method and a path, with its parameters' names in braces."""

    method: str
    path: str
    takes_body: bool = False

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return re.findall(r"{(\w+)}", self.path)

    def target(self, values: Mapping[str, str]) -> str:
        """Return the path with its parameters filled in."""
        return re.sub(r"{(\w+)}", lambda name: values[name[1]], self.path)


def known_routes(app: FastAPI) -> Iterator[KnownRoute]:
    """Yield every route of the application."""
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            yield KnownRoute(method.upper(), path, "requestBody" in operation)
    for path in UNLISTED:
        yield KnownRoute("GET", path)
