"""Clients of the simulated cluster, and the part of a server that answers them.

A client numbers its operations 1, 2, 3, ..., stores each before it sends it, keeps a window of them under
way, and sends them again, with the same numbers, until they are answered; it finds the primary by trying. It
may crash and start again with what it has stored. Two clients of one account replace each other.

A `Front` belongs to one process of a server. It takes operations only while that server is the serving
primary, only the next one of each client, and answers when they are committed and applied.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Protocol

from tests.simulation.agenda import MS, Agenda
from tests.simulation.checkers import Judge
from tests.simulation.machine import REPLACED, Command, Machine, encode
from tests.simulation.parameters import Parameters


class Front:
    """Sessions and pending operations of one process."""

    def __init__(self, host: ClientHost, machine: Machine):
        self.host, self.machine = host, machine
        self.serving = False
        self.sessions: dict[int, tuple[Client, int]] = {}  # client id -> (client, its token)
        self.opening: dict[tuple[int, int], tuple[Client, int]] = {}
        self.taken: dict[int, int] = {}  # client id -> last number put into the log
        self.commands: list[Command] = []  # not yet proposed
        self.stamp = 0

    def begin(self) -> None:
        """The server is primary, its CONFIG is committed and applied."""
        self.serving = True
        self.stamp = max(self.stamp, self.machine.stamp)

    def end(self) -> None:
        """Not primary any more: nothing pending is answered."""
        self.serving = False
        self.sessions, self.opening, self.taken, self.commands = {}, {}, {}, []

    def frame(self, client: Client, token: int, kind: str, content: Any) -> None:
        """One frame from a client has arrived."""
        if not self.serving:
            if kind != "read":
                self.host.reply(client, token, "not primary", self.host.hint())
        elif kind == "read":
            self.host.read()
        elif kind == "open":
            self.opening[content, client.number] = (client, token)
            self.commands.append(("open", content, client.number))
        elif kind == "send" and self.sessions.get(client.number) == (client, token):
            self._operations(client, token, *content)

    def _operations(self, client: Client, token: int, first: int, end: int, incarnation: int) -> None:
        head = self.machine.head(client.number)
        last = max(self.taken.get(client.number, 0), head)
        known = self.machine.clients[client.number].results if first <= head else {}
        results = [(number, known[number]) for number in range(first, min(end, head + 1)) if number in known]
        if results:
            self.host.reply(client, token, "results", results)
        if first > last + 1:
            self.host.reply(client, token, "expect", last + 1)
            return
        for number in range(max(first, last + 1), end):
            self.commands.append(("send", client.account, client.number, number, incarnation))
            self.taken[client.number] = number

    def group(self) -> bytes | None:
        """What arrived since the last call, as one log entry; None if nothing did."""
        if not self.commands:
            return None
        commands, self.commands = self.commands, []
        self.stamp += 1
        return encode(self.stamp, commands)

    def applied(self, outcomes: list[tuple[Command, int]]) -> None:
        """An entry was committed and applied: answer those who wait."""
        results: dict[int, list[tuple[int, int]]] = {}
        for command, result in outcomes:
            if command[0] == "open":
                waiting = self.opening.pop((command[1], command[2]), None)
                if waiting:
                    client, token = waiting
                    self.sessions[client.number] = waiting
                    following = max(self.taken.get(client.number, 0), self.machine.head(client.number)) + 1
                    self.host.reply(client, token, "opened", (result, following))
            elif command[2] in self.sessions:
                results.setdefault(command[2], []).append((command[3], result))
        for number, answers in results.items():
            client, token = self.sessions[number]
            self.host.reply(client, token, "results", answers)


class ClientHost(Protocol):
    """What a front needs of its process."""

    def reply(self, client: Client, token: int, kind: str, content: Any) -> None: ...
    def hint(self) -> str | None: ...
    def read(self) -> None: ...


class Client:
    """One client process and what it stores.

    `address` says where it stands in the network; cuts between it and a server are possible.
    """

    def __init__(self, number: int, cluster: ClientNetwork, account: int):
        self.number, self.account, self.cluster = number, account, cluster
        self.address = f"client{number}"
        self.agenda: Agenda = cluster.agenda
        self.random: Random = cluster.random
        self.parameters: Parameters = cluster.parameters
        self.stats: Counter[str] = cluster.stats
        self.judge: Judge = cluster.judge
        # stored
        self.issued = 0  # number of the last operation that was stored and sent
        self.acked = 0  # all up to this number are answered
        # lost at a crash
        self.alive, self.quiet = True, False
        self.patience = self.parameters.give_up
        self.tokens = 0
        self.token = 0  # of the session asked for or held; what carries another one is void
        self.target = cluster.addresses[0]
        self.open, self.incarnation, self.sent = False, 0, 0
        self.heard = 0
        self.rests_until = 0

    def start(self) -> None:
        self.agenda.after(self.random.randint(1, 50 * MS), self.turn)

    def turn(self) -> None:
        """Think; then open a session, send something, or give up on a silent server."""
        p, now = self.parameters, self.agenda.now
        self.agenda.after(1 + int(self.random.random() * 2 * p.think), self.turn)
        if not self.alive or now < self.rests_until or (self.quiet and self.acked == self.issued):
            return
        if self.token and now - self.heard > self.patience and (self.acked < self.issued or not self.open):
            self.stats["client gave up"] += 1
            self.leave(self.random.choice(self.cluster.addresses))
        if not self.token:
            self.tokens += 1
            self.token, self.heard = self.tokens, now
            self.cluster.to_server(self, self.target, "open", self.account)
        elif self.open and not self.quiet:
            if self.random.random() < 0.1:
                self.cluster.to_server(self, self.target, "read", None)
            room = p.window - (self.issued - self.acked)
            if room > 0:
                self.issued += self.random.randint(1, min(room, 3))
                self._send(self.sent + 1)

    def ask(self, count: int) -> None:
        """Issue so many operations now, whatever the window says."""
        self.issued += count
        if self.open:
            self._send(self.sent + 1)

    def _send(self, first: int) -> None:
        if self.issued >= first:
            if self.acked == self.issued:
                self.heard = self.agenda.now
            self.sent = self.issued
            self.judge.invoked(self.number, self.issued)
            self.cluster.to_server(self, self.target, "send", (first, self.issued + 1, self.incarnation))

    def leave(self, target: str) -> None:
        self.token, self.open, self.target = 0, False, target

    def frame(self, address: str, token: int, kind: str, content: Any) -> None:
        """One frame from a server has arrived; what belongs to an older session is void."""
        if not self.alive or token != self.token or address != self.target:
            return
        self.heard = self.agenda.now
        if kind == "not primary" or kind == "refused":
            self.leave(content or self.random.choice(self.cluster.addresses))
        elif kind == "opened" and not self.open:
            self.incarnation, following = content
            self.open = True
            self.judge.resumed(self.number, following, self.acked, address)
            self._send(self.acked + 1)
        elif kind == "results":
            for number, result in content:
                self.judge.answered(self.number, number, result)
                if number == self.acked + 1:
                    self.acked = number
                    self.stats["acknowledged"] += 1
                if result == REPLACED:
                    self.stats["replaced"] += 1
                    self.rests_until = self.agenda.now + self.random.randint(0, 2000 * MS)
                    self.leave(self.target)
                    return
            if self.acked < self.sent < self.issued:
                return
            if self.issued > self.sent:
                self._send(self.sent + 1)
        elif kind == "expect":
            self._send(content)

    def crash(self) -> None:
        """All but what is stored is lost; the client starts again after a while."""
        self.alive = False
        self.leave(self.random.choice(self.cluster.addresses))
        self.stats["client crashes"] += 1
        self.agenda.after(self.random.randint(10 * MS, 2000 * MS), self.restart)

    def restart(self) -> None:
        self.alive, self.sent = True, 0


class ClientNetwork(Protocol):
    """What a client needs of the cluster."""

    agenda: Agenda
    random: Random
    parameters: Parameters
    stats: Counter[str]
    judge: Judge
    addresses: list[str]

    def to_server(self, client: Client, address: str, kind: str, content: Any) -> None: ...
