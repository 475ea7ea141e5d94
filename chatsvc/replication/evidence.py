"""What a replica knows about the others being up: heard, refused, silent, hung; and its awake clock.

Protocol 4. Nothing here decides anything; it only keeps what was observed, in the order of the replica's own
events.
"""

from __future__ import annotations

from collections import deque

from chatsvc.replication.events import Probe
from chatsvc.replication.identity import DirId
from chatsvc.replication.rules import Rules
from chatsvc.replication.settings import Timers

HUNG_PROBES_MIN = 5
PROBES_REMEMBERED_MAX = 64
STRANGERS_MAX = 256


class Evidence:
    """Signs of life and refusals, by directory."""

    def __init__(self, timers: Timers, rules: Rules) -> None:
        self.timers, self.rules = timers, rules
        self.events = 0  # orders what this replica hears and the probes it begins
        self.awake = 0  # ms; stands still while the process does
        self.heard_event: dict[DirId, int] = {}
        self.heard_awake: dict[DirId, int] = {}
        self.boot_of: dict[DirId, int] = {}
        self.boot_heard_at: dict[DirId, int] = {}  # when the present process was first heard, ms
        self.address_of: dict[DirId, str] = {}  # of that process, as it says
        self.refused_event: dict[DirId, int] = {}
        self.refused_at: dict[DirId, int] = {}  # when the refused attempt began, ms
        self._awake_step_max = 2 * timers.heartbeat
        self._probed_at: dict[str, int] = {}
        self._primary_probes: deque[Probe] = deque(maxlen=PROBES_REMEMBERED_MAX)
        self._accepted: set[int] = set()

    def pass_time(self, gap: int) -> None:
        self.awake += gap if gap < self._awake_step_max else self._awake_step_max

    def forgive_silence(self) -> None:
        """After an own stall all silence counts anew."""
        for member in self.heard_awake:
            self.heard_awake[member] = self.awake

    # ---- signs of life

    def heard(self, member: DirId, boot: int, address: str, now: int) -> bool:
        """A sign of life. Is it the first one of this process?"""
        self.events += 1
        self.heard_event[member] = self.events
        self.heard_awake[member] = self.awake
        self.address_of[member] = address
        if self.boot_of.get(member) == boot:
            return False
        if member not in self.boot_of and len(self.boot_of) >= STRANGERS_MAX:
            self._forget_longest_silent()
        self.boot_of[member] = boot
        self.boot_heard_at[member] = now
        return True

    def _forget_longest_silent(self) -> None:
        """Bound the memory against a flood of directories; of members there are only a few."""
        member = min(self.boot_of, key=lambda other: self.heard_event.get(other, 0))
        for table in (
            self.heard_event,
            self.heard_awake,
            self.boot_of,
            self.boot_heard_at,
            self.refused_event,
            self.refused_at,
        ):
            table.pop(member, None)
        self.address_of.pop(member, None)

    def silence(self, member: DirId, since: int = 0) -> int:
        """Awake ms since it was heard, or since `since` on the awake clock if that is later."""
        return self.awake - max(since, self.heard_awake.get(member, 0))

    # ---- refusals

    def replaced(self, member: DirId, now: int) -> None:
        """Another directory answers at its address."""
        self.refused_event[member] = self.events
        self.refused_at[member] = now

    def on_refused(self, member: DirId, probe: Probe) -> bool:
        """Does that refused probe count against the member? Only if begun after it was last heard."""
        if probe.number <= self.heard_event.get(member, -1):
            return False
        if probe.number >= self.refused_event.get(member, -1):
            self.refused_event[member] = probe.number
            self.refused_at[member] = probe.begun_at
        return True

    def refused(self, member: DirId) -> bool:
        """Refused since it was last heard?"""
        return self.refused_event.get(member, -1) > self.heard_event.get(member, -1)

    def refused_now(self, member: DirId, now: int) -> bool:
        """Refused, and the attempt is not older than an RPC (rule `fresh`)."""
        if not self.refused(member):
            return False
        return now - self.refused_at[member] <= self.timers.rpc or not self.rules.fresh

    # ---- probes

    def probe(self, address: str, now: int, at_once: bool = False) -> Probe | None:
        """A probe of that address, unless one began there a moment ago."""
        begun_at = self._probed_at.get(address)
        if begun_at is not None and now - begun_at < self.timers.probe_every and not at_once:
            return None
        if len(self._probed_at) >= STRANGERS_MAX:
            self._probed_at.clear()
        self._probed_at[address] = now
        self.events += 1
        return Probe(address, self.events, now)

    def remember_primary_probe(self, probe: Probe) -> None:
        if len(self._primary_probes) == PROBES_REMEMBERED_MAX:
            self._accepted.discard(self._primary_probes[0].number)
        self._primary_probes.append(probe)

    def on_accepted(self, probe: Probe) -> None:
        self._accepted.add(probe.number)
        if len(self._accepted) > 2 * PROBES_REMEMBERED_MAX:
            self._accepted.intersection_update(known.number for known in self._primary_probes)

    def forget_primary_probes(self) -> None:
        if self._primary_probes or self._accepted:
            self._primary_probes.clear()
            self._accepted.clear()

    def all_accepted_none_answered(self, now: int) -> bool:
        """Did the kernel of the silent primary accept a run of probes that its process left unanswered?

        Of the probes since it was last heard those count that had T_fresh to be answered: the newest of them
        back to the last one not accepted, at least HUNG_PROBES_MIN, spread over at least T_stall.
        """
        newest = oldest = None
        count = 0
        for probe in reversed(self._primary_probes):
            if now - probe.begun_at < self.timers.fresh:
                continue
            if probe.number not in self._accepted:
                break
            count += 1
            oldest = probe.begun_at
            if newest is None:
                newest = probe.begun_at
        if newest is None or oldest is None:
            return False
        return count >= HUNG_PROBES_MIN and newest - oldest >= self.timers.stall
