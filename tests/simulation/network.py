"""The simulated network between servers.

Three ways to talk, as between real processes:

- *calls*: one envelope on its own. It may be lost, late, doubled, and overtake others.
- *links*: a connection that one process dials and another accepts. What is sent on a link arrives in order
  and once, or the link breaks; both ends learn of that, each at its own time. A cut holds back what is under
  way; when it ends in time everything arrives late and at once, as after TCP's retransmissions. Seeds with
  `loose_links` treat each envelope on a link like a call instead, which is worse than any real connection.
- *probes*: a fresh connect. The kernel of the target's machine accepts it while a process listens there,
  paused or not, and refuses it otherwise; a running process answers. A cut, or a machine that is down, gives
  nothing.

Buffers are bounded: what does not fit for a call is lost, a link that cannot take more is closed.

Cuts are per direction: (source, target) -> the time at which the cut ends.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Protocol

from tests.simulation.agenda import MS, Agenda
from tests.simulation.parameters import Parameters


class Process(Protocol):
    """What the network needs to know of a process."""

    address: str
    alive: bool
    paused: bool
    waiting: int  # how much waits in its kernel's buffers

    def arrive(self, kind: str, first: Any, second: Any) -> None: ...


class Link:
    """A connection: `ends[0]` dialled, `ends[1]` accepted. An end is None once it knows that the link is
    gone.
    """

    __slots__ = ("arrival", "ends", "held", "lost", "number", "processes", "under_way")

    def __init__(self, number: int, dialler: Process, acceptor: Process):
        self.number = number
        self.processes = (dialler, acceptor)
        self.ends: list[Process | None] = [dialler, acceptor]
        self.arrival = [0, 0]  # per receiving end: when the last envelope sent arrives
        self.held: list[list[Any]] = [[], []]  # per receiving end: what a cut holds back
        self.lost = False  # a machine of it is off: what is under way comes no more
        self.under_way = [0, 0]  # per receiving end: how much was sent and has not arrived

    def __repr__(self) -> str:
        return f"link{self.number}"


class Network:
    def __init__(self, agenda: Agenda, random: Random, parameters: Parameters, stats: Counter[str]):
        self.agenda, self.random, self.parameters, self.stats = agenda, random, parameters, stats
        self.processes: dict[str, Process | None] = {}  # address -> the process that listens there
        self.machines_down: set[str] = set()  # addresses whose machine is off: no refusals
        self.cuts: dict[tuple[str, str], int] = {}
        self.links = 0
        self.loss = parameters.loss
        self.duplicates = parameters.duplicates
        self.late = parameters.late

    # ---- conditions

    def is_cut(self, source: str, target: str) -> bool:
        if source in self.machines_down or target in self.machines_down:
            return True
        until = self.cuts.get((source, target))
        return until is not None and until > self.agenda.now

    def cut(self, source: str, target: str, until: int) -> None:
        """Nothing gets from source to target until then (microseconds)."""
        self.cuts[source, target] = max(until, self.cuts.get((source, target), 0))

    def heal(self) -> None:
        """End all cuts, losses and delays of more than the usual latency."""
        self.cuts.clear()
        self.loss = self.duplicates = self.late = 0.0

    def _delay(self) -> int:
        p, dice, late = self.parameters, self.random.random(), self.late
        if dice < late:
            return p.latency_max + int(dice / late * p.lateness_max)
        return p.latency_min + int((dice - late) / (1 - late) * (p.latency_max - p.latency_min))

    # ---- calls

    def call(self, source: Process, target: str, envelope: Any) -> None:
        """A request, or news, to whatever process listens there; it may be answered by `reply`."""
        self._one(source, target, None, envelope, source)

    def reply(self, source: Process, caller: Process, envelope: Any) -> None:
        """An answer to a call goes back to the process that called, whatever it says its address is."""
        self._one(source, caller.address, caller, envelope, None)

    def _one(self, source: Process, target: str, process: Process | None, envelope: Any, way: Any) -> None:
        if self.loss and self.random.random() < self.loss:
            self.stats["lost"] += 1
            return
        self.agenda.after(self._delay(), self._arrives, source.address, target, process, envelope, way)
        if self.duplicates and self.random.random() < self.duplicates:
            self.stats["duplicated"] += 1
            self.agenda.after(self._delay() * 2, self._arrives, source.address, target, process, envelope, way)

    def _arrives(self, source: str, target: str, process: Process | None, envelope: Any, way: Any) -> None:
        """`way` is how to answer: the link, the process that called, or None."""
        if self.is_cut(source, target):
            self.stats["cut off"] += 1
            return
        if process is None:
            process = self.processes.get(target)
        if process is None or not process.alive:
            return
        if process.paused and process.waiting >= self.parameters.buffer:
            self.stats["did not fit"] += 1
            return
        process.arrive("envelope", envelope, way)

    # ---- links

    def dial(self, dialler: Process, target: str) -> Link | None:
        """Open a link; None if nothing listens there or the way is cut. The handshake costs no time of its
        own.
        """
        process = self.processes.get(target)
        if process is None or self.is_cut(dialler.address, target) or self.is_cut(target, dialler.address):
            return None
        self.links += 1
        self.stats["links"] += 1
        return Link(self.links, dialler, process)

    def send(self, source: Process, link: Link, envelope: Any) -> None:
        """Send on a link from one of its ends. On a link that is gone nothing happens."""
        receiving = 1 if link.processes[0] is source else 0
        if link.ends[1 - receiving] is None:
            return
        target = link.processes[receiving]
        if self.parameters.loose_links:
            self._one(source, target.address, target, envelope, link)
            return
        if link.under_way[receiving] >= self.parameters.link_buffer:
            self.stats["links closed: full"] += 1
            self.close(source, link)
            source.arrive("broken", link, None)
            return
        arrival = self.agenda.now + self._delay()
        if self.loss and self.random.random() < self.loss:
            arrival += self.parameters.retransmission  # lost once, sent again by TCP
        arrival = max(arrival, link.arrival[receiving])
        link.arrival[receiving] = arrival
        link.under_way[receiving] += 1
        self.agenda.at(arrival, self._link_arrives, link, receiving, envelope)

    def _link_arrives(self, link: Link, receiving: int, envelope: Any) -> None:
        held, target = link.held[receiving], link.ends[receiving]
        if target is None or link.lost:
            return
        if held:
            held.append(envelope)
        elif self.is_cut(link.processes[1 - receiving].address, target.address):
            held.append(envelope)
            self.agenda.after(self.parameters.retransmission, self._retransmit, link, receiving)
            self.agenda.after(self.parameters.keepalive, self._keepalive, link, receiving, envelope)
        else:
            link.under_way[receiving] -= 1
            target.arrive("envelope", envelope, link)

    def _retransmit(self, link: Link, receiving: int) -> None:
        target = link.ends[receiving]
        if target is None or link.lost or not link.held[receiving]:
            return
        if self.is_cut(link.processes[1 - receiving].address, target.address):
            self.agenda.after(self.parameters.retransmission, self._retransmit, link, receiving)
            return
        held, link.held[receiving] = link.held[receiving], []
        for envelope in held:
            link.under_way[receiving] -= 1
            if link.ends[receiving] is not None:
                target.arrive("envelope", envelope, link)

    def _keepalive(self, link: Link, receiving: int, envelope: Any) -> None:
        """The same envelope is still held back: the link is given up, by its sender first."""
        if any(held is envelope for held in link.held[receiving]):
            self.stats["links broken: cut"] += 1
            self._end_breaks(link, 1 - receiving)
            self._end_breaks(link, receiving)

    def _end_breaks(self, link: Link, end: int) -> None:
        process = link.ends[end]
        link.ends[end] = None
        if process is not None and process.alive:
            process.arrive("broken", link, None)

    def close(self, source: Process, link: Link) -> None:
        """One end closes; the other learns of it after the latency, or when its keepalive has run out."""
        end = 0 if link.processes[0] is source else 1
        if link.ends[end] is None:
            return
        link.ends[end] = None
        other = link.processes[1 - end]
        cut = self.is_cut(source.address, other.address)
        delay = self.parameters.keepalive if cut else self._delay()
        self.agenda.at(max(self.agenda.now + delay, link.arrival[1 - end]), self._end_breaks, link, 1 - end)

    # ---- probes

    def probe(self, source: Process, target: str, token: Any) -> None:
        """A fresh connect. The outcome arrives as "refused", "accepted" and perhaps "dialled" at the target."""
        self.agenda.after(self._delay(), self._probe_arrives, source, target, token)

    def _probe_arrives(self, source: Process, target: str, token: Any) -> None:
        if self.is_cut(source.address, target):
            return
        process = self.processes.get(target)
        if process is None:
            self.agenda.after(self._delay(), self._probe_returns, source, target, "refused", token, None)
            return
        self.agenda.after(self._delay(), self._probe_returns, source, target, "accepted", token, None)
        if not (process.paused and process.waiting >= self.parameters.buffer):
            process.arrive("dialled", (source, token), None)

    def answer_probe(self, process: Process, dialled: tuple[Process, Any], answer: Any) -> None:
        """The process at the target says who it is."""
        source, token = dialled
        self.agenda.after(self._delay(), self._probe_returns, source, process.address, "answered", token, answer)

    def _probe_returns(self, source: Process, target: str, outcome: str, token: Any, answer: Any) -> None:
        if source.alive and not self.is_cut(target, source.address):
            source.arrive(outcome, token, answer)

    # ---- processes

    def listen(self, process: Process) -> None:
        self.processes[process.address] = process

    def hang_up(self, process: Process, links: list[Link]) -> None:
        """The process is gone: its port refuses, its links break."""
        if self.processes.get(process.address) is process:
            self.processes[process.address] = None
        for link in links:
            self.close(process, link)


def every_pair(addresses: list[str]) -> list[tuple[str, str]]:
    return [(a, b) for a in addresses for b in addresses if a != b]


__all__ = ["MS", "Link", "Network", "every_pair"]
