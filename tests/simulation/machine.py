"""The toy state machine that the simulated cluster replicates.

It has just enough of a chat service to show a lost, doubled, reordered or invented operation: accounts with a
dense inbox, sessions that replace each other, and exactly-once operations named (client, number).

A command is a tuple. `("open", account, client)` logs the client in to the account; `("send", account,
client, number, incarnation)` puts one line in the account's inbox. One log entry holds a group of commands.
"""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

import msgspec

Command = tuple[object, ...]
RESULTS_KEPT = 64  # results of the last operations of a client, for its retries

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[tuple[object, ...], ...])


def encode(stamp: int, commands: list[Command]) -> bytes:
    """One log entry: the time stamp that the primary gives it, then the commands in order."""
    return _encoder.encode((("stamp", stamp), *commands))


@lru_cache(maxsize=8192)
def decode(payload: bytes) -> tuple[Command, ...]:
    """The stamp pair first, then the commands. Cached, as every server decodes the same entries."""
    return _decoder.decode(payload)


class Client:
    """What the state remembers of one client id."""

    __slots__ = ("head", "results")

    def __init__(self) -> None:
        self.head = 0  # number of its last applied operation
        self.results: dict[int, int] = {}  # number -> result, the last RESULTS_KEPT ones


REPLACED = -1  # result of an operation whose session was replaced


class Machine:
    """State of the domain at one applied index; a pure function of the entries applied."""

    __slots__ = ("accounts", "applied", "clients", "digest", "inboxes", "stamp")

    def __init__(self) -> None:
        self.applied = 0  # log index
        self.digest = 0  # of everything applied, results included
        self.stamp = 0
        self.clients: dict[int, Client] = {}
        self.accounts: dict[int, tuple[int, int]] = {}  # account -> (incarnation, client in session)
        self.inboxes: dict[int, int] = {}  # account -> last inbox sequence

    def apply(self, index: int, payload: bytes) -> list[tuple[Command, int]]:
        """Apply one entry; returns each command with its result, in order.

        The result of an open is the incarnation, that of a send the inbox sequence or REPLACED. A send that
        was applied before returns its first result.
        """
        assert index > self.applied, "entries are applied in order, each once"
        self.applied = index
        (_, stamp), *commands = decode(payload)
        assert stamp > self.stamp, "time stamps increase strictly along the log"
        self.stamp = stamp
        outcomes = []
        digest = crc32(payload, self.digest)
        for command in commands:
            result = self._open(command) if command[0] == "open" else self._send(command)
            digest = (digest * 31 + result) & 0xFFFFFFFF
            outcomes.append((command, result))
        self.digest = digest
        return outcomes

    def skip(self, index: int) -> None:
        """An entry without commands for the domain (a CONFIG)."""
        assert index > self.applied, "entries are applied in order, each once"
        self.applied = index

    def _open(self, command: Command) -> int:
        _, account, client = command
        incarnation, in_session = self.accounts.get(account, (0, 0))
        if in_session != client:
            incarnation += 1
            self.accounts[account] = (incarnation, client)
        if client not in self.clients:
            self.clients[client] = Client()
        return incarnation

    def _send(self, command: Command) -> int:
        _, account, name, number, incarnation = command
        client = self.clients.get(name)
        if client is None:
            client = self.clients[name] = Client()
        if number <= client.head:
            return client.results.get(number, 0)
        assert number == client.head + 1, f"a gap before operation {command}, last one {client.head}"
        client.head = number
        if incarnation < self.accounts.get(account, (0, 0))[0]:
            result = REPLACED
        else:
            result = self.inboxes[account] = self.inboxes.get(account, 0) + 1
        client.results[number] = result
        client.results.pop(number - RESULTS_KEPT, None)
        return result

    def head(self, client: int) -> int:
        """Number of the client's last applied operation; 0 if none."""
        known = self.clients.get(client)
        return known.head if known else 0
