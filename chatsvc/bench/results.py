"""What a measurement has shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chatsvc.bench.histogram import Histogram
from chatsvc.bench.orders import Counts

BUSY_CORES = 0.9
"""A process of Python that uses more than this of a core has little to give any more."""


class Load(msgspec.Struct, frozen=True):
    """What the pairs do.

    Attributes:
        window: most un-acknowledged messages of a sender.
        rate: messages a second over all senders, whatever the servers do; None: as the window permits.
        size: characters of a message.
        messages: end after so many; None: after `duration_s`.
        duration_s: measured time.
        warm_up_s: under load before that; not where messages are counted.
        offline: whether recipients are away while messages are sent, and come back afterwards.
    """

    window: int = 16
    rate: float | None = None
    size: int = 105
    messages: int | None = None
    duration_s: float = 5.0
    warm_up_s: float = 1.0
    offline: bool = False

    @property
    def name(self) -> str:
        """Such as `W=16` or `500/s`."""
        name = f"W={self.window}" if self.rate is None else f"{self.rate:,.0f}/s"
        return f"{name} offline" if self.offline else name


class Millis(msgspec.Struct, frozen=True):
    """Percentiles of a time in milliseconds; None if nothing was measured."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, histogram: Histogram) -> "Millis":
        """Of what was counted, in nanoseconds."""
        found = histogram.percentiles((0.5, 0.9, 0.99, 0.999, 1.0))
        return cls(*(None if value is None else round(value / 1e6, 3) for value in found))


class Cpu(msgspec.Struct, frozen=True):
    """Cores that processes used on average.

    Attributes:
        servers: by name; what a server used that was killed, and did not say it before, is missing.
        generator: of each process of the generator.
    """

    servers: dict[str, float] = {}
    generator: list[float] = []

    @property
    def generator_bound(self) -> bool:
        """Whether the generator and not the servers was the limit: one of its processes was busy, and no server."""
        return max(self.generator, default=0.0) >= BUSY_CORES > max(self.servers.values(), default=0.0)


class Sessions(msgspec.Struct, frozen=True):
    """Who was logged in.

    Attributes:
        open: how many.
        logins_per_s: how fast they had logged in.
    """

    open: int
    logins_per_s: float


class Failover(msgspec.Struct, frozen=True):
    """How long senders waited: of each run, the time from the fault to the worst sender's first acknowledgement by
    another primary. Where the primary was ordered to go, the longest time that a sender had no acknowledgement.

    Attributes:
        fault: kill, stop or term.
        ms: of each run, in order.
    """

    fault: str
    ms: list[float]

    def summary(self) -> dict[str, float]:
        """Nearest-rank percentiles."""
        ordered = sorted(self.ms)
        p50, p99 = (ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 99))
        return {"p50": p50, "p99": p99, "max": ordered[-1]}


class Result(msgspec.Struct):
    """What a load has shown; the names of `fields` are a promise to scripts.

    Attributes:
        load, pairs, sessions: what was measured.
        acked_per_s, delivered_per_s: in the measured time; offline: while queueing, while draining.
        ack, e2e: see `orders.Taken`; offline, `e2e` is empty.
        late: how late the generator itself was with messages at a given rate.
        cpu: in the measured time; offline: while queueing.
        drain_cpu: offline, while draining.
        counts: of the whole run, of all processes.
        failover: if there was any.
    """

    load: Load
    pairs: int
    sessions: Sessions
    acked_per_s: float = 0.0
    delivered_per_s: float = 0.0
    ack: Histogram = msgspec.field(default_factory=Histogram)
    e2e: Histogram = msgspec.field(default_factory=Histogram)
    late: Histogram = msgspec.field(default_factory=Histogram)
    cpu: Cpu = Cpu()
    drain_cpu: Cpu | None = None
    counts: Counts | None = None
    failover: Failover | None = None

    @property
    def generator_bound(self) -> bool:
        """See `Cpu`."""
        return self.cpu.generator_bound or (self.drain_cpu is not None and self.drain_cpu.generator_bound)

    @property
    def wrong(self) -> list[str]:
        """What must not be: lost, doubled, …; empty if all is well."""
        assert self.counts is not None
        counts = self.counts
        found = {
            "lost": counts.lost,
            "doubled": counts.doubled,
            "out of order": counts.reordered,
            "never sent": counts.foreign,
            "refused": counts.refused,
            "unanswered": counts.unanswered,
        }
        return [f"{number:,} {what}" for what, number in found.items() if number]

    def fields(self) -> dict[str, Any]:
        """For scripts."""
        assert self.counts is not None
        load, counts = self.load, self.counts
        fields: dict[str, Any] = {
            "load": load.name,
            "pairs": self.pairs,
            "window": load.window,
            "rate": load.rate,
            "size": load.size,
            "offline": load.offline,
            "sessions": self.sessions.open,
            "logins_per_s": self.sessions.logins_per_s,
            "acked_per_s": self.acked_per_s,
            "delivered_per_s": self.delivered_per_s,
            "ack_ms": msgspec.to_builtins(Millis.of(self.ack)),
            "e2e_ms": msgspec.to_builtins(Millis.of(self.e2e)),
            "late_ms": msgspec.to_builtins(Millis.of(self.late)),
            "cpu": msgspec.to_builtins(self.cpu),
            "drain_cpu": msgspec.to_builtins(self.drain_cpu),
            "generator_bound": self.generator_bound,
        }
        if self.failover is not None:
            fields["failover_ms"] = {"fault": self.failover.fault, **self.failover.summary(), "runs": self.failover.ms}
        for name in ("sent", "acked", "delivered", "lost", "doubled", "reordered", "foreign", "refused", "unanswered"):
            fields[name] = getattr(counts, name)
        fields["trouble"] = counts.trouble
        return fields


def together(parts: Sequence[Counts]) -> Counts:
    """The counts of all processes as one."""
    summed = {
        name: sum(getattr(part, name) for part in parts)
        for name in (
            *("cpu_ns", "sent", "acked", "delivered", "lost", "doubled", "reordered"),
            *("foreign", "refused", "unanswered"),
        )
    }
    newest = {name: max(getattr(part, name) for part in parts) for name in ("time_ns", "acked_ns", "delivered_ns")}
    return Counts(**summed, **newest, trouble=next((part.trouble for part in parts if part.trouble), ""))


COLUMNS = (
    *("load", "pairs", "window", "rate", "size", "offline", "sessions", "logins_per_s"),
    *("acked_per_s", "delivered_per_s"),
    *("ack_ms.p50", "ack_ms.p90", "ack_ms.p99", "ack_ms.p999", "ack_ms.max"),
    *("e2e_ms.p50", "e2e_ms.p90", "e2e_ms.p99", "e2e_ms.p999", "e2e_ms.max", "late_ms.p99"),
    *("cpu.servers.sum", "cpu.servers.max", "cpu.generator.sum", "cpu.generator.max", "generator_bound"),
    *("failover_ms.p50", "failover_ms.p99", "failover_ms.max"),
    *("sent", "acked", "delivered", "lost", "doubled", "reordered", "foreign", "refused", "unanswered"),
)
"""Of the table for spreadsheets: names of fields, with the names inside them behind a dot."""


def row(fields: Mapping[str, Any]) -> list[Any]:
    """The values of `COLUMNS` in what `Result.fields` gives; None where there is none."""
    return [_value(fields, column.split(".")) for column in COLUMNS]


def _value(fields: Any, path: list[str]) -> Any:
    for name in path:
        if fields is None:
            return None
        values = fields.values() if isinstance(fields, Mapping) else fields
        if name == "sum":
            return round(sum(values), 3)
        if name == "max" and (not isinstance(fields, Mapping) or "max" not in fields):
            return max(values, default=None)
        fields = fields.get(name)
    return fields
