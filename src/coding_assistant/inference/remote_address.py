"""The address of a server that runs models elsewhere, and who can read what is sent there.

Knows nothing of what is said to the server.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx2

from coding_assistant.errors import InvalidSetting

_VERSION: Final = "/v1"
_EXAMPLE: Final = "Give it as in http://127.0.0.1:8080/v1."


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """An address without credentials. Made by ``parse``; ``base`` has no slash at its end."""

    base: str
    host: str
    is_encrypted: bool

    @classmethod
    def parse(cls, given: str) -> "RemoteAddress":
        """Return the address that was meant.

        Raises ``InvalidSetting`` for what is none, and for one that holds a secret, which it does not repeat.
        """
        try:
            parts = urlsplit(given.strip())
            host = _host(parts)
            httpx2.URL(parts.geturl())
        except (ValueError, httpx2.InvalidURL):
            parts, host = SplitResult("", "", "", "", ""), ""
        if parts.scheme not in {"http", "https"} or not host:
            raise InvalidSetting("openai_base_url is not the address of a server.", hint=_EXAMPLE)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidSetting(
                "openai_base_url holds more than an address, perhaps a secret.",
                hint=f"Put the key into openai_api_key. {_EXAMPLE}",
            )
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(base, host, parts.scheme == "https")

    @property
    def root(self) -> str:
        """Where the server has its own doors, beside the standard ones."""
        return self.base.removesuffix(_VERSION)

    @property
    def is_near(self) -> bool:
        """Whether it can only be this machine or one of its private network.

        A name is looked up nowhere, so that of names only ``localhost`` is near.
        """
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            number = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return number.is_loopback or number.is_private

    @property
    def notice(self) -> str:
        """What the user has to know before anything is sent there; empty where it stays near."""
        if self.is_near:
            return ""
        openly = "" if self.is_encrypted else ", unencrypted: anybody on the way can read it"
        return f"The model runs elsewhere: questions and code go to {self.host}{openly}."


def _host(parts: SplitResult) -> str:
    """Return the host by itself; ``ValueError`` where it, or the port, is none."""
    _ = parts.port
    return (parts.hostname or "").rstrip(".")
