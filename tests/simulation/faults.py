"""The nemesis: random faults, and faults aimed at moments that matter.

Classes of runs, each with the faults of the ones before it:

- `crash`: kills, double kills, restarts, clients that crash;
- `pause`: processes stopped for 0.1 to 12 s, disks that hang, are full, or fail a sync;
- `cut`: cuts of one server, one pair, one direction, a bridge, a flapping link; of any length;
- `join`: the cluster is founded by one server, the others join, directories are emptied, members are removed;
- `isolated`: as `cut` with isolated promotion on, but no cut outlasts T_evict (longer ones may split the
  cluster: docs/guarantees.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.agenda import MS, SECOND

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster, Server

CLASSES = ("crash", "pause", "cut", "join", "isolated")
PAUSES_MS = (150, 450, 900, 2_000, 4_600, 5_200, 8_000, 12_000)
OFF_MS = (400, 2_000, 6_000, 14_000, 20_000)
CUTS_MS = (100, 400, 900, 2_000, 4_700, 6_000, 11_000)


class Nemesis:
    """Of one run; quiet until `begin` and after `end`."""

    def __init__(self, cluster: Cluster, kind: str):
        assert kind in CLASSES, kind
        self.cluster, self.random, self.kind = cluster, cluster.randoms["faults"], kind
        self.pauses = kind != "crash"
        self.cuts = kind in ("cut", "join", "isolated")
        self.cut_max_ms = 100_000 if kind in ("cut", "join") else 4_000
        self.last_cut: dict[tuple[str, str], int] = {}
        self.acts = False

    def begin(self) -> None:
        self.acts = True
        self.cluster.interesting = self._aim
        self._plan()

    def end(self) -> None:
        self.acts = False
        self.cluster.interesting = None

    def _plan(self) -> None:
        pause = self.cluster.parameters.fault_pause
        self.cluster.agenda.after(1 + int(self.random.expovariate(1 / pause)), self._random_fault)

    def _later(self, delay: int, act: Callable[..., None], *args: object) -> None:
        """Do it after the delay, unless the faults are over by then."""
        self.cluster.agenda.after(delay, self._if_acting, act, args)

    def _if_acting(self, act: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.acts:
            act(*args)

    # ---- one fault

    def _random_fault(self) -> None:
        if not self.acts:
            return
        self._plan()
        random, cluster = self.random, self.cluster
        server = random.choice(cluster.servers)
        dead = [each for each in cluster.servers if each.process is None]
        dice = random.random()
        if dead and dice < 0.25 + 0.15 * len(dead):
            server = random.choice(dead)
            if self.kind == "join" and random.random() < 0.4:
                cluster.wipe(server)
            if random.random() < 0.1:
                cluster.stood_in_vain(server, random.randint(1, 3))
            cluster.restart(server)
        elif dice < 0.5:
            self._kill(self._primary_or(server, 0.5), random.random())
        elif dice < 0.62 and self.pauses:
            self._pause(self._primary_or(server, 0.4))
        elif dice < 0.66 and self.pauses:
            self._hang_disk(self._primary_or(server, 0.4))
        elif dice < 0.68 and self.pauses:
            self._spoil_disk(server)
        elif dice < 0.88 and self.cuts:
            self._cut()
        elif dice < 0.95:
            self._administer(server)
        else:
            random.choice(cluster.clients).crash()

    def _administer(self, server: Server) -> None:
        """An operator stops a server, or removes a member; somebody forges an epoch."""
        cluster, random, dice = self.cluster, self.random, self.random.random()
        if dice < 0.5:
            cluster.leave(server)
            self._later(random.choice((100, 1000, 3000)) * MS, cluster.restart, server)
        elif dice < 0.75 or self.kind != "join":
            cluster.forge_epoch(server, random.randrange(1, 50))
        else:
            cluster.remove(server)

    def _aim(self, server: Server, what: str) -> None:
        """A server has written a CONFIG, stood or granted: perhaps a fault within the next few steps."""
        cluster, random = self.cluster, self.random
        if self.acts and random.random() < cluster.parameters.aim:
            delay = random.choice((0, 0, 1, 2, 5, 20, 60, 150, 400)) * MS + random.randint(0, MS)
            cluster.stats[f"aimed at {what}"] += 1
            self._later(delay, self._aimed_fault, server)

    def _aimed_fault(self, server: Server) -> None:
        random = self.random
        others = [each for each in self.cluster.servers if each is not server]
        other = random.choice(others)
        dice = random.random()
        if dice < 0.3 or not self.pauses:
            self._kill(server if random.random() < 0.6 else other, random.random())
        elif dice < 0.6:
            self._pause(server if random.random() < 0.5 else other)
        elif dice < 0.68:
            self._hang_disk(server if random.random() < 0.7 else other)
        elif self.cuts:
            self._cut(server)
        else:
            self._kill(other, random.random())

    def _primary_or(self, server: Server, chance: float) -> Server:
        primaries = self.cluster.primaries()
        return primaries[0] if primaries and self.random.random() < chance else server

    def _kill(self, server: Server, dice: float) -> None:
        """One server, sometimes a second at once or soon after, sometimes all; the machine dies with it at
        times.
        """
        cluster, random = self.cluster, self.random
        before = sum(each.process is not None for each in cluster.servers)
        cluster.crash(server)
        silent = self.cuts and random.random() < (0.4 if self.kind == "isolated" else 0.1)
        if silent:
            cluster.machine_off(server, random.choice(OFF_MS) * MS)
        if dice < 0.35:
            others = [each for each in cluster.servers if each is not server and each.process is not None]
            if others:
                second = random.choice(others)
                delay = random.choice((0, 0, 1, 5, 20, 100, 300, 1000)) * MS
                self._later(delay, cluster.crash, second)
                if silent:
                    self._later(delay, cluster.machine_off, second, random.choice(OFF_MS) * MS)
                if before >= 3:
                    cluster.stats["double kills"] += 1
        elif dice < 0.40:
            for each in cluster.servers:
                cluster.crash(each)
            cluster.stats["full crashes"] += 1
        if dice > 0.6:
            self._later(random.choice((1, 20, 100, 700, 1500)) * MS, cluster.restart, server)

    def _pause(self, server: Server) -> None:
        self.cluster.pause(server, self.random.choice(PAUSES_MS) * MS + self.random.randint(0, 100 * MS))

    def _hang_disk(self, server: Server) -> None:
        self.cluster.hang_disk(server, self.random.choice((100, 400, 1500, 6000, 17_000)) * MS)

    def _spoil_disk(self, server: Server) -> None:
        if self.random.random() < 0.5:
            self.cluster.fill_disk(server, self.random.choice((300, 3000, 17_000)) * MS)
        else:
            self.cluster.fail_sync(server)

    def _cut(self, aimed: Server | None = None) -> None:
        """Cut one server from all, one pair, two backups from each other, or one direction; or flap."""
        cluster, random = self.cluster, self.random
        names = [server.address for server in cluster.servers]
        one = (aimed or self._primary_or(random.choice(cluster.servers), 0.5)).address
        others = [name for name in names if name != one]
        if not others:
            return
        other = random.choice(others)
        dice = random.random()
        if dice < 0.3:
            ways = [(one, each) for each in others] + [(each, one) for each in others]
            if random.random() < 0.3:
                ways += [(client.address, one) for client in cluster.clients]
        elif dice < 0.5:
            ways = [(one, other), (other, one)]
        elif dice < 0.65 and len(others) > 1:
            first, second = random.sample(others, 2)
            ways = [(first, second), (second, first)]
        elif dice < 0.75:
            ways = [(one, each) for each in others] if random.random() < 0.5 else [(each, one) for each in others]
        elif dice < 0.9:
            ways = [(one, other)]
        else:
            side = set(random.sample(names, random.randint(1, len(names) - 1)))
            ways = [(a, b) for a in names for b in names if (a in side) != (b in side)]
        lasts = min(random.choice(CUTS_MS), self.cut_max_ms) * MS + random.randint(0, 200 * MS)
        self._cut_ways(ways, lasts)
        if random.random() < 0.15:  # flapping
            for again in range(1, random.randint(2, 5)):
                self._later(again * (lasts + random.randint(10, 500) * MS), self._cut_ways, ways, lasts)

    def _cut_ways(self, ways: list[tuple[str, str]], lasts: int) -> None:
        cluster = self.cluster
        now = cluster.agenda.now
        if self.kind == "isolated":
            # With isolated promotion on a way must not stay silent for long: pause between two cuts of it.
            ways = [way for way in ways if self.last_cut.get(way, -9 * SECOND) + 2 * SECOND < now]
        for source, target in ways:
            cluster.network.cut(source, target, now + lasts)
            self.last_cut[source, target] = now + lasts
        cluster.stats["cuts"] += 1
        cluster.note("network", "cut", " ".join(f"{a}>{b}" for a, b in ways), f"{lasts // MS} ms")
