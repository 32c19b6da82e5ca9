import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.errors import InvalidSetting
from coding_assistant.inference.remote_address import RemoteAddress


@pytest.mark.parametrize(
    ("given_address", "base", "root"),
    [
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        (" https://gpu.example.org/v1/ ", "https://gpu.example.org/v1", "https://gpu.example.org"),
        ("http://[::1]:8000/llm/v1", "http://[::1]:8000/llm/v1", "http://[::1]:8000/llm"),
        ("https://gpu.example.org/api", "https://gpu.example.org/api", "https://gpu.example.org/api"),
    ],
)
def test_an_address_is_read_as_it_was_meant(given_address: str, base: str, root: str) -> None:
    address = RemoteAddress.parse(given_address)

    assert (address.base, address.root) == (base, root)


@pytest.mark.parametrize(
    "given_address",
    [
        "",
        "gpu.example.org",
        "ftp://gpu/v1",
        "http://",
        "http://gpu:port/v1",
        "http://[::1/v1",
        f"http://{chr(228) * 80}/v1",
    ],
)
def test_what_is_no_address_is_refused(given_address: str) -> None:
    with pytest.raises(InvalidSetting, match="not the address"):
        RemoteAddress.parse(given_address)


@pytest.mark.parametrize(
    "given_address",
    [
        "https://me:sesame@gpu.org/v1",
        "https://sesame@gpu.org/v1",
        "https://gpu.org/v1?key=sesame",
        "http://a/#sesame",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(given_address: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        RemoteAddress.parse(given_address)

    assert "sesame" not in raised.value.message + raised.value.hint
    assert "openai_api_key" in raised.value.hint


@pytest.mark.parametrize(
    ("host", "is_near"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("box.localhost", True),
        ("[::1]", True),
        ("10.1.2.3", True),
        ("192.168.0.7", True),
        ("172.16.0.1", True),
        ("[fd00::1]", True),
        ("8.8.8.8", False),
        ("100.64.0.1", False),
        ("172.32.0.1", False),
        ("gpu.example.org", False),
        ("gpu-box", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_only_what_cannot_be_elsewhere_is_near(host: str, *, is_near: bool) -> None:
    address = RemoteAddress.parse(f"https://{host}/v1")

    assert address.is_near == is_near
    assert (address.notice == "") == is_near


def test_the_notice_names_the_host_and_that_others_can_listen() -> None:
    notices = [RemoteAddress.parse(f"{scheme}://gpu.example.org/v1").notice for scheme in ("https", "http")]

    assert all("questions and code go to gpu.example.org" in notice for notice in notices)
    assert ["unencrypted" in notice for notice in notices] == [False, True]


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = RemoteAddress.parse(text)
    except InvalidSetting:
        return
    assert RemoteAddress.parse(address.base) == address
