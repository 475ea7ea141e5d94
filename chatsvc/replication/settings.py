"""Timers and bounds of one replica, with the order that the rules need between them."""

from __future__ import annotations

import msgspec

from chatsvc.replication.configs import Mode


class Timers(msgspec.Struct, frozen=True, kw_only=True):
    """All times in milliseconds. `scaled` multiplies them all; `check` asserts their order."""

    heartbeat: int = 50  # the primary sends an Append on every stream at least this often
    rpc: int = 300  # an answer that has not come by then does not come; age limit of "refused now"
    stall: int = 400  # a gap this long between two steps is an own stall
    fresh: int = 500  # refusals no further apart leave no room for a restart that takes part
    start: int = 600  # a started process neither grants, stands, nor takes a lease for so long
    suspect: int = 800  # silence of the primary after which a backup suspects it
    lease: int = 4_500  # how long a lease runs, from the sending of the ack that the primary has seen
    evict: int = 5_000  # the primary drops a member that has not acked for so long
    lag: int = 10_000  # a live member whose durable index stands still for so long is frozen
    probe_after: int = 200  # silence that starts probing
    probe_every: int = 50
    survey_wait: int = 50  # random wait before a survey, and grace for those whose vote is not needed
    hello_every: int = 300  # a follower without a stream dials again this often
    forget: int = 7 * 24 * 3_600_000  # a learner unseen for so long leaves the members
    clock_error: float = 0.05  # bound on the rate error of two clocks against each other

    def scaled(self, factor: float) -> Timers:
        times = {
            name: max(1, round(getattr(self, name) * factor))
            for name in self.__struct_fields__
            if name != "clock_error"
        }
        return Timers(clock_error=self.clock_error, **times)

    @property
    def suspect_earliest(self) -> int:
        """Silence after which somebody with a fast clock may suspect, on the own clock."""
        return int(self.suspect * (1 - self.clock_error))

    def check(self, isolated: int | None) -> None:
        """Assert the order that the rules rest on.

        Args:
            isolated: see Settings.isolated_promotion; None means never.
        """
        error = self.clock_error
        assert 0 < self.heartbeat <= self.rpc < self.suspect, "an answer comes before a suspicion"
        assert 2 * self.heartbeat <= self.stall < self.suspect, "a stall is noticed before others suspect"
        assert self.fresh < self.start, "refusals between which a restart took part would look unbroken"
        assert self.suspect * (1 + error) < self.lease, "a lease outlasts a suspicion"
        assert self.lease < self.evict * (1 - error), "nobody is dropped while its lease runs"
        assert isolated is None or isolated > self.evict, "isolation is longer than an eviction"
        assert 0 < self.probe_every <= self.fresh


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica is told at its start."""

    timers: Timers = Timers()
    join: tuple[str, ...] = ()  # addresses to ask besides those of known members
    isolated_promotion: int | None = None  # T_isolated, ms of silence; None: no degraded decisions
    mode: Mode = Mode.AVAILABLE
    tail_entries_max: int = 4_096  # entries kept in memory although durable and released
    tail_bytes_max: int = 16 << 20
    append_entries_max: int = 512  # in one Append
    append_bytes_max: int = 1 << 20
    window_entries: int = 2_048  # sent on one stream and not yet durable there
    window_bytes: int = 8 << 20
    uncommitted_entries_max: int = 4_096  # in the primary's log; beyond, proposals are refused
    uncommitted_bytes_max: int = 64 << 20
