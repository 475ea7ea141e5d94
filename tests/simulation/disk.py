"""The simulated disk of one data directory.

A writer takes everything that was handed to it while it was busy as one group, as a database with group
commit does. The group is done as a whole after its write time. A crash loses what was not begun; of the group
being written chance decides whether it is on the disk, for nobody had been told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.agenda import Agenda
from tests.simulation.parameters import Parameters


class Disk:
    """`carry_out(save)` changes the durable state; `tell(outcome, save)` tells the process: saved, full,
    failed.
    """

    def __init__(
        self,
        agenda: Agenda,
        random: Random,
        parameters: Parameters,
        stats: Counter[str],
        carry_out: Callable[[Any], None],
        tell: Callable[[str, Any], None],
    ):
        self.agenda, self.random, self.parameters, self.stats = agenda, random, parameters, stats
        self.carry_out, self.tell = carry_out, tell
        self.queued: list[Any] = []
        self.writing: list[Any] = []
        self.round = 0  # counts writes and crashes; an older write's end is void
        self.hangs_until = 0  # a stalled device: no write ends before that
        self.full_until = 0
        self.fails_next = False  # the next sync ends with an I/O error
        self.broken = False  # it has
        self.stopped = False  # the process is paused, and its writer with it
        self.postponed = False  # the pause caught the write before its sync

    def submit(self, save: Any) -> None:
        self.queued.append(save)
        if not self.writing and not self.stopped and not self.broken:
            self._begin()

    def pause(self) -> None:
        self.stopped = True

    def resume(self) -> None:
        self.stopped = False
        if self.postponed:
            self.postponed = False
            self._end(self.round)
        elif self.queued and not self.writing:
            self._begin()

    def relieve(self) -> None:
        """The device is well again: what it held up ends now."""
        self.hangs_until = self.full_until = 0
        self.fails_next = False
        if self.writing:
            self.agenda.after(0, self._end, self.round)

    def _begin(self) -> None:
        self.writing, self.queued = self.queued, []
        self.round += 1
        p, dice = self.parameters, self.random.random()
        if dice < p.slow_writes:
            self.stats["slow writes"] += 1
            duration = p.write_max + int(dice / p.slow_writes * p.slow_write_max)
        else:
            duration = p.write_min + int(dice * (p.write_max - p.write_min))
        self.agenda.at(max(self.agenda.now + duration, self.hangs_until), self._end, self.round)

    def _end(self, which: int) -> None:
        if which != self.round:
            return
        if self.hangs_until > self.agenda.now:
            self.agenda.at(self.hangs_until, self._end, which)
            return
        if self.stopped and self.random.random() < 0.5:
            self.postponed = True
            return
        if self.full_until > self.agenda.now:
            self.stats["refused by a full disk"] += 1
            self.tell("full", self.writing[0])
            self.agenda.after(self.parameters.write_max + 100_000, self._end, which)
            return
        done, self.writing = self.writing, []
        if self.fails_next:
            self.fails_next, self.broken = False, True
            self.stats["failed syncs"] += 1
            if self.random.random() < 0.5:
                for save in done:
                    self.carry_out(save)
            self.tell("failed", done[0])
            return
        for save in done:
            self.carry_out(save)
        if self.queued and not self.stopped:
            self._begin()
        for save in done:
            self.tell("saved", save)

    def crash(self) -> None:
        """The process dies. What was being written may be on the disk; what was not begun is not."""
        self.round += 1
        self.stopped = self.postponed = self.broken = False
        if self.writing and self.random.random() < 0.5:
            self.stats["written but not told"] += 1
            for save in self.writing:
                self.carry_out(save)
        elif self.writing:
            self.stats["unsynced lost"] += 1
        self.writing, self.queued = [], []
