"""One seed, from its parameters to its outcome: a safety phase under faults, then a liveness phase.

In the liveness phase a core is healed: everybody, or only those whom the protocol may have to wait for, while
the rest stays away. The core must then elect a primary, take back all its servers, and answer every client
within `RECOVERY`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from traceback import format_exception
from zlib import crc32

from chatsvc.replication import ALL, Rules
from tests.simulation import availability
from tests.simulation.agenda import MS, SECOND
from tests.simulation.checkers import Violation
from tests.simulation.cluster import Cluster
from tests.simulation.faults import CLASSES, Nemesis
from tests.simulation.parameters import Parameters, draw
from tests.simulation.server import Process, Server

RECOVERY = 40 * SECOND


@dataclass
class Outcome:
    """Of one seed."""

    kind: str
    seed: int
    violation: str = ""  # empty: none
    blocked: bool = False  # an availability run whose survivor did not serve
    steps: int = 0  # of the core, all servers
    simulated_s: float = 0.0
    recovery_s: float = 0.0  # liveness phase: from the healing to everything answered
    gap_s: float = 0.0  # availability: from the last fault to the next commit; else the worst gap
    digest: int = 0  # of what happened: equal for equal runs
    stats: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[float, str, str]] = field(default_factory=list)


ALL_KINDS = (*CLASSES, *(f"avail-{mode}" for mode in availability.MODES))


def run(kind: str, seed: int, rules: Rules = ALL, trace: bool = False, servers: int | None = None) -> Outcome:
    """Run one seed of a class. Never raises for what the core does: a failed assertion is a violation, too."""
    outcome = Outcome(kind, seed)
    random = Random(f"{kind}/{seed}")
    if kind in CLASSES:
        parameters = draw(random, servers)
        if kind == "join":
            parameters.founders = 1
        if kind == "isolated":
            parameters.isolated = True
            parameters.fault_time = random.choice((12, 24, 24)) * SECOND
    else:
        parameters = availability_parameters(random)
    cluster = Cluster(f"{kind}/{seed}", parameters, rules, trace)
    try:
        cluster.boot()
        if kind in CLASSES:
            under_faults(cluster, kind, random)
            outcome.recovery_s = recover(cluster, random) / SECOND
            outcome.gap_s = cluster.worst_gap / SECOND
        else:
            gap = survive(cluster, kind.removeprefix("avail-"), seed)
            outcome.blocked = gap is None
            outcome.gap_s = 0 if gap is None else gap / SECOND
    except Violation as violation:
        outcome.violation = str(violation)
    except Exception as problem:  # the core or the simulation is broken: also a finding
        where = problem.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{where.tb_lineno}" if where else ""
        outcome.violation = f"{type(problem).__name__}: {problem} ({place})"
        cluster.note("judge", "".join(format_exception(problem)))
    outcome.stats, outcome.steps = cluster.stats, cluster.steps
    outcome.simulated_s = cluster.agenda.now / SECOND
    state = (
        cluster.steps,
        cluster.agenda.now,
        sorted(cluster.stats.items()),
        cluster.judge.effects[-1],
        outcome.violation,
    )
    outcome.digest = crc32(repr(state).encode())
    outcome.lines = cluster.lines or []
    return outcome


def under_faults(cluster: Cluster, kind: str, random: Random) -> None:
    nemesis = Nemesis(cluster, kind)
    if kind == "join":
        for server in cluster.servers[1:]:
            cluster.agenda.after(random.randrange(4_000) * MS, cluster.restart, server)
    nemesis.begin()
    cluster.agenda.run(cluster.agenda.now + cluster.parameters.fault_time)
    nemesis.end()


def recover(cluster: Cluster, random: Random) -> int:
    """The liveness phase; returns how long it took (microseconds)."""
    cluster.heal()
    core = cluster.servers
    if random.random() < 0.4:
        needed = cluster.needed()
        core = [server for server in cluster.servers if server.directory.dir_id in needed] or core
    cluster.note("judge", "core", *(server.address for server in core))
    for server in cluster.servers:
        if server not in core:
            cluster.crash(server)
            cluster.stats["left out of the core"] += 1
    _keep_up(cluster, core, random)
    began = cluster.agenda.now
    if not cluster.agenda.run(began + RECOVERY, lambda: cluster.complete(core)):
        cluster.judge.violation("stuck: not everybody in sync", describe(cluster))
    for client in cluster.clients:
        client.quiet = True
        client.patience = max(client.patience, 3 * SECOND)
    if not cluster.agenda.run(
        began + RECOVERY, lambda: all(client.acked == client.issued for client in cluster.clients)
    ):
        cluster.judge.violation(
            "stuck: clients not answered",
            *(f"{client.acked} of {client.issued}" for client in cluster.clients),
            describe(cluster),
        )
    took = cluster.agenda.now - began
    if not cluster.agenda.run(began + RECOVERY, lambda: at_rest(cluster, core)):
        cluster.judge.violation("stuck: not everybody catches up", describe(cluster))
    return took


def at_rest(cluster: Cluster, core: list[Server]) -> bool:
    """Has every server of the core applied the same, and everything acknowledged?"""
    last = len(cluster.judge.committed) - 1
    for server in core:
        process: Process | None = server.process
        if process is None or process.machine.applied != last or process.replica.log.last_index != last:
            return False
        if process.machine.digest != cluster.judge.effects[-1]:
            cluster.judge.violation("states differ at rest (I11)", server.address)
    return True


def _keep_up(cluster: Cluster, core: list[Server], random: Random) -> None:
    """What a supervisor does: start whichever server of the core is down, soon.

    One that was sent away for good comes back with an empty directory.
    """
    for server in core:
        if cluster.is_removed(server):
            cluster.crash(server)
            server.new_directory()
        if server.process is None:
            cluster.agenda.after(random.randrange(500) * MS, cluster.restart, server)
    cluster.agenda.after(SECOND, _keep_up, cluster, core, random)


def survive(cluster: Cluster, mode: str, seed: int) -> int | None:
    """An availability run; returns the time from the last fault to the next new commit, None if it blocked."""
    plan = availability.Plan(cluster, mode, seed)
    if not cluster.agenda.run(
        cluster.agenda.now + 30 * SECOND, lambda: plan.done_at is not None and cluster.agenda.now >= plan.done_at
    ):
        cluster.judge.violation("the plan did not come to its end")
    survivor, last = plan.survivor, cluster.judge.committed
    done, before = cluster.agenda.now, len(last)
    served = cluster.agenda.run(
        done + availability.BOUND, lambda: len(last) > before and (survivor is None or survivor in cluster.primaries())
    )
    if served:
        return cluster.agenda.now - done
    cluster.note("judge", "blocked", describe(cluster))
    if mode not in availability.MAY_BLOCK:
        cluster.judge.violation("blocked", describe(cluster))
    return None


def availability_parameters(random: Random) -> Parameters:
    """A fast, faultless cluster of three: what happens is the plan's doing alone."""
    p = Parameters(servers=3, founders=3, latency_min=200, latency_max=2 * MS, clients=2, accounts=2, window=4)
    p.think = 20 * MS
    p.give_up = 500 * MS
    p.one_at_a_time = random.random() < 0.7
    return p


def describe(cluster: Cluster) -> str:
    """Who is what, in one line."""
    parts = []
    for server in cluster.servers:
        if server.process is None:
            parts.append(f"{server.address} down")
            continue
        replica = server.process.replica
        status = replica.status()
        parts.append(
            f"{server.address} {status.role.value} epoch {status.epoch.counter} last {status.last_index} "
            f"commit {status.commit_index} waits for {','.join(status.waiting_for) or 'nobody'}"
        )
    return "; ".join(parts)
