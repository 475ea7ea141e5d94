"""Does the last survivor serve? Everybody is in sync, then servers go down, and nobody is restarted.

Random safety runs never notice a rule that merely waits for ever; these runs do. Each mode says who must
serve in the end and within what time. A mode that may block says why in `MAY_BLOCK`; there the run counts,
but does not fail.

Two kills are aimed systematically, not by chance: the seed counts through every ordered pair of servers,
every distance of `DISTANCES` between the kills, and every step of the run at which the first of them can
fall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.agenda import MS, SECOND

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster, Server

MODES = {
    "kill": "any two are killed: every pair, every distance, at every step",
    "successor": "the primary is killed, then its successor right after its promotion",
    "hang": "as kill, but a victim hangs for a while before it is killed",
    "stall": "as kill; the survivor stalls for 0.2 to 1.4 s around the kills",
    "hungprimary": "one backup is killed, then the primary hangs",
    "hungbackup": "one backup is killed, then the other one hangs",
    "cutpair": "the two backups were cut from each other for longer than L, then the primary is killed",
}
MAY_BLOCK = {
    "hang": "the survivor's lease, or that of its successor, may have run out while the victim hung: a silent server "
    "cannot be told from one that goes on elsewhere",
    "stall": "a primary that stood still for longer than T_suspect may have been replaced, or a survivor dropped, "
    "and nobody is left to tell it",
}
DISTANCES = (
    "0 steps",
    "1 steps",
    "2 steps",
    "3 steps",
    "5 steps",
    "8 steps",
    "13 steps",
    "40 ms",
    "100 ms",
    "250 ms",
    "500 ms",
    "900 ms",
    "1500 ms",
    "3000 ms",
    "5500 ms",
)
STEPS = 211  # so many steps of a run, every one of them, see the first kill
BOUND = 20 * SECOND  # after the last kill the survivor acknowledges within that


class Plan:
    """What one seed does, and who must serve."""

    def __init__(self, cluster: Cluster, mode: str, seed: int):
        self.cluster, self.mode, self.random = cluster, mode, cluster.randoms["faults"]
        self.survivor: Server | None = None
        self.done_at: int | None = None  # when the last fault has happened
        getattr(self, f"_{mode}")(seed)

    # ---- modes

    def _kill(self, seed: int) -> None:
        servers = self.cluster.servers
        pairs = [(a, b) for a in servers for b in servers if a is not b]
        seed, pair = divmod(seed, len(pairs))
        count, distance = divmod(seed, len(DISTANCES))
        step = count * 37 % STEPS  # spread, so that few seeds see more than the first steps
        first, second = pairs[pair]
        self._two(first, second, step, DISTANCES[distance])

    def _two(self, first: Server, second: Server, step: int, distance: str, hang: int = 0) -> None:
        self.survivor = next(each for each in self.cluster.servers if each not in (first, second))
        amount, unit = distance.split()

        self.cluster.stats["double kills"] += 1

        def kill_second() -> None:
            self.cluster.crash(second)
            self.done_at = self.cluster.agenda.now

        def kill_first() -> None:
            self.cluster.crash(first)
            if unit == "steps":
                self.cluster.after_steps(int(amount), kill_second)
            else:
                self.cluster.agenda.after(int(amount) * MS, kill_second)

        def begin() -> None:
            if hang:
                self.cluster.pause(first, 2 * hang)
                self.cluster.agenda.after(hang, kill_first)
            else:
                kill_first()

        self.cluster.after_steps(step, begin)

    def _hang(self, seed: int) -> None:
        first, second = self.random.sample(self.cluster.servers, 2)
        self._two(
            first,
            second,
            self.random.randrange(200),
            self.random.choice(DISTANCES),
            hang=self.random.randint(200, 4_500) * MS,
        )

    def _stall(self, seed: int) -> None:
        first, second = self.random.sample(self.cluster.servers, 2)
        self._two(first, second, self.random.randrange(200), self.random.choice(DISTANCES))
        survivor = self.survivor
        assert survivor is not None
        lasts = self.random.randint(200, 1_400) * MS
        self.cluster.agenda.after(self.random.randint(0, 1_500) * MS, self.cluster.pause, survivor, lasts)

    def _successor(self, seed: int) -> None:
        cluster = self.cluster
        (primary,) = cluster.primaries()
        cluster.crash(primary)
        delay = (seed % 60) * 5 * MS

        def kill_successor() -> None:
            promoted = [each for each in cluster.servers if each.role() == "primary"]
            if not promoted:
                cluster.agenda.after(MS, kill_successor)
                return
            (self.survivor,) = (each for each in cluster.servers if each not in (primary, *promoted))
            cluster.agenda.after(delay, kill_it, promoted[0])

        def kill_it(server: Server) -> None:
            cluster.crash(server)
            self.done_at = cluster.agenda.now

        cluster.agenda.after(MS, kill_successor)

    def _hung_one(self, hung_is_primary: bool) -> None:
        cluster = self.cluster
        (primary,) = cluster.primaries()
        backups = [each for each in cluster.servers if each is not primary]
        self.random.shuffle(backups)
        cluster.crash(backups[0])
        hung, self.survivor = (primary, backups[1]) if hung_is_primary else (backups[1], primary)

        def hang() -> None:
            cluster.pause(hung, 1_000 * SECOND)
            self.done_at = cluster.agenda.now

        cluster.agenda.after(self.random.choice((0, 20, 300, 1000, 4000)) * MS, hang)

    def _hungprimary(self, seed: int) -> None:
        self._hung_one(True)

    def _hungbackup(self, seed: int) -> None:
        self._hung_one(False)

    def _cutpair(self, seed: int) -> None:
        cluster = self.cluster
        (primary,) = cluster.primaries()
        first, second = (each for each in cluster.servers if each is not primary)
        lasts = self.random.randint(4_600, 9_000) * MS
        cluster.network.cut(first.address, second.address, cluster.agenda.now + lasts)
        cluster.network.cut(second.address, first.address, cluster.agenda.now + lasts)

        def kill() -> None:
            cluster.crash(primary)
            self.done_at = cluster.agenda.now + lasts  # served at the latest after the cut

        cluster.agenda.after(self.random.randint(0, 500) * MS, kill)
