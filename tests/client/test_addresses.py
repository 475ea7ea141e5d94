"""Addresses as people write them."""

import pytest

from chatsvc.client import DEFAULT_SERVERS, default_servers, parse_servers
from chatsvc.client.addresses import checked_servers, is_address


def test_addresses_are_separated_by_commas_and_named_once() -> None:
    assert parse_servers(" a.example:1, [::1]:65535,a.example:1 ,") == ("a.example:1", "[::1]:65535")


@pytest.mark.parametrize(
    "text",
    [
        "foo",
        "foo:",
        ":50051",
        "foo:x",
        "foo:0",
        "foo:65536",
        "::1:50051",
        "a b:1",
        "http://a:1",
        "",
        ",",
        "foo:１",
        "[]:1",
    ],
)
def test_what_is_no_address_is_said_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT, for example") as caught:
        parse_servers(text)
    assert "\n" not in str(caught.value)
    assert not is_address(text)


def test_without_a_word_the_environment_names_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATSVC_SERVERS", "one:1,two:2")
    assert checked_servers(None) == default_servers() == ("one:1", "two:2")


def test_without_an_environment_three_ports_of_this_machine_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHATSVC_SERVERS", raising=False)
    assert default_servers() == DEFAULT_SERVERS == ("127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053")


def test_a_text_is_taken_for_a_list_of_addresses() -> None:
    assert checked_servers("one:1,two:2") == ("one:1", "two:2")


def test_an_empty_list_of_servers_is_refused() -> None:
    with pytest.raises(ValueError, match="no server's address"):
        checked_servers([])
