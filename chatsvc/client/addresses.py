"""Where servers are: addresses as people write them."""

import os
from collections.abc import Iterable

SERVERS_VARIABLE = "CHATSVC_SERVERS"

DEFAULT_SERVERS = ("127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053")


def default_servers() -> tuple[str, ...]:
    """The addresses in `CHATSVC_SERVERS`, separated by commas; without it, three ports of this machine.

    Raises:
        ValueError: the variable holds something else; the text says what.
    """
    text = os.environ.get(SERVERS_VARIABLE, "")
    return parse_servers(text) if text.strip() else DEFAULT_SERVERS


def parse_servers(text: str) -> tuple[str, ...]:
    """Addresses separated by commas.

    Raises:
        ValueError: one of them is none, or there is none; the text says it in a line.
    """
    return checked_servers(part for part in text.split(",") if part.strip())


def checked_servers(servers: Iterable[str] | None) -> tuple[str, ...]:
    """These addresses in their usual form, each once; None: `default_servers`.

    Raises:
        ValueError: see `parse_servers`.
    """
    if servers is None:
        return default_servers()
    if isinstance(servers, str):
        return parse_servers(servers)
    checked = tuple(dict.fromkeys(map(_checked, servers)))
    if not checked:
        raise ValueError("no server's address is given: HOST:PORT, for example 127.0.0.1:50051")
    return checked


def _checked(address: str) -> str:
    host, colon, port = address.strip().rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    written_right = (
        colon
        and bare
        and (":" not in host or bare != host)
        and not any(character.isspace() or character in "/,?#%\\" for character in bare)
        and port.isascii()
        and port.isdigit()
        and 1 <= int(port[:6]) <= 65_535
    )
    if not written_right:
        raise ValueError(f"{address.strip()!a} is no address: HOST:PORT, for example 127.0.0.1:50051")
    return f"{host}:{int(port)}"


def is_address(text: str) -> bool:
    """Whether a server's word for an address can be one."""
    try:
        _checked(text)
    except ValueError:
        return False
    return True
