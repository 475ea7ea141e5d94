"""What a seed decides before its run begins: the shape of the cluster, its network, disks, clocks and load."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.simulation.agenda import MS, SECOND


@dataclass
class Parameters:
    """Times in microseconds, probabilities from 0 to 1."""

    servers: int = 3
    founders: int = 3  # servers that are in sync before the faults begin; the others join later

    # network
    latency_min: int = MS
    latency_max: int = 3 * MS
    late: float = 0.0  # share of envelopes that are late by up to lateness_max
    lateness_max: int = 400 * MS
    loss: float = 0.0
    duplicates: float = 0.0
    loose_links: bool = False  # links lose, double and reorder like calls
    retransmission: int = 200 * MS
    keepalive: int = 4 * SECOND  # a link that a cut holds up for so long breaks
    buffer: int = 200  # calls that wait for a paused process; more are lost
    link_buffer: int = 400  # envelopes on their way on a link; more close it

    # servers
    write_min: int = MS  # a disk write takes so long
    write_max: int = 3 * MS
    slow_writes: float = 0.0  # share of writes that take up to slow_write_max
    slow_write_max: int = 600 * MS
    clock_rates: list[int] = field(default_factory=lambda: [1_000_000] * 5)  # local microseconds per second
    one_at_a_time: bool = True  # take_ready after each event, or after all that wait
    loop_delay: int = 0  # a process gets round to what has arrived within that time
    heartbeat_ms: int = 50
    append_entries: int = 512  # in one Append
    window_entries: int = 2_048  # sent on a stream and not durable there yet
    tail_entries: int = 4_096  # kept in memory although durable everywhere
    isolated: bool = False  # degraded promotion is on

    # clients
    clients: int = 2
    accounts: int = 2
    window: int = 4
    think: int = 100 * MS  # mean pause between the operations of a client
    give_up: int = 800 * MS  # a client without an answer for so long looks for another server

    # faults
    fault_pause: int = 1500 * MS  # mean pause between random faults
    aim: float = 0.3  # how often a CONFIG, a candidacy or a vote draws a fault
    fault_time: int = 12 * SECOND  # how long the safety phase lasts


def draw(random: Random, servers: int | None = None) -> Parameters:
    """Parameters of a run under faults."""
    p = Parameters()
    p.servers = servers or random.choice([2, 3, 3, 3, 3, 4, 5])
    p.founders = p.servers
    p.latency_min, p.latency_max = random.choice([(200, 500), (MS, 3 * MS), (2 * MS, 30 * MS), (5 * MS, 100 * MS)])
    p.late = random.choice([0, 0, 0.01, 0.05])
    p.lateness_max = random.choice([100, 400, 900]) * MS
    p.loss = random.choice([0, 0, 0.01, 0.04])
    p.duplicates = random.choice([0, 0, 0.02])
    p.loose_links = random.random() < 0.3
    p.retransmission = random.choice([50, 200, 400]) * MS
    p.keepalive = random.choice([500, 2000, 4000, 15_000]) * MS
    p.buffer = random.choice([8, 200])
    p.link_buffer = random.choice([20, 400])
    p.write_min, p.write_max = random.choice([(100, 300), (MS, 3 * MS), (3 * MS, 40 * MS)])
    p.slow_writes = random.choice([0, 0, 0.02, 0.2])
    p.slow_write_max = random.choice([100, 600, 2500]) * MS
    skew = random.choice([0, 0, 1_000, 20_000])
    p.clock_rates = [1_000_000 + random.randint(-skew, skew) for _ in range(5)]
    p.one_at_a_time = random.random() < 0.7
    p.loop_delay = random.choice([0, 0, 2 * MS, 20 * MS])
    p.heartbeat_ms = random.choice([50, 100, 150, 200])
    p.append_entries = random.choice([1, 3, 512, 512])
    p.window_entries = random.choice([4, 64, 2_048, 2_048])
    p.tail_entries = random.choice([4, 50, 4_096, 4_096])
    p.clients = random.choice([1, 2, 3])
    p.accounts = random.choice([1, p.clients])
    p.window = random.choice([1, 4, 16])
    p.think = random.choice([20, 60, 200]) * MS
    p.give_up = random.choice([300, 800, 2000]) * MS
    p.fault_pause = random.choice([500, 1500, 3000]) * MS
    p.aim = random.choice([0, 0.15, 0.4, 0.7])
    # A window smaller than what the clients may have under way, attempts given up during a slow write included,
    # lets a learner fall behind at every such write.
    attempts = 1 + (p.slow_write_max // p.give_up if p.slow_writes else 0)
    p.window_entries = max(p.window_entries, p.clients * p.window * attempts)
    # A link that holds less than a window is none: real ones bound bytes, and make the sender wait.
    p.link_buffer = max(p.link_buffer, 2 * p.window_entries // p.append_entries)
    return p
