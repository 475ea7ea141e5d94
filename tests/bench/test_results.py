"""What is said of a measurement."""

from typing import Any

import pytest

from chatsvc.bench.histogram import Histogram
from chatsvc.bench.orders import Counts
from chatsvc.bench.results import COLUMNS, Cpu, Failover, Load, Result, Sessions, row, together


def counts(**changes: Any) -> Counts:
    """Nothing happened, with changes."""
    numbers = dict.fromkeys(Counts.__struct_fields__, 0) | {"trouble": ""}
    return Counts(**(numbers | changes))


def result(**changes: Any) -> Result:
    """Of two messages, with changes."""
    latencies = Histogram()
    latencies.record(1_500_000)
    latencies.record(2_500_000)
    return Result(
        **{
            "load": Load(),
            "pairs": 1,
            "sessions": Sessions(2, 10.0),
            "ack": latencies,
            "cpu": Cpu({"a": 0.5, "b": 0.25}, [0.3, 0.4]),
            "counts": counts(sent=2, acked=2, delivered=2),
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("cpu", "bound"),
    [
        pytest.param(Cpu({"a": 0.5}, [0.2, 0.95]), True, id="one process is busy and the server is not"),
        pytest.param(Cpu({"a": 1.1}, [0.95, 0.95]), False, id="the server is busy, too"),
        pytest.param(Cpu({"a": 0.5}, [0.5, 0.5]), False, id="nobody is busy"),
        pytest.param(Cpu({}, [0.95]), True, id="servers that say nothing"),
        pytest.param(Cpu(), False, id="nothing measured"),
    ],
)
def test_the_generator_was_the_limit_when_it_was_busy_and_no_server_was(cpu: Cpu, bound: bool) -> None:
    assert result(cpu=cpu).generator_bound is bound
    assert result(drain_cpu=cpu).generator_bound is bound
    assert result(cpu=cpu).fields()["generator_bound"] is bound


def test_fields_and_columns_have_the_same_figures() -> None:
    fields = result(failover=Failover("kill", [30.0, 10.0, 20.0])).fields()
    assert (fields["ack_ms"]["p50"], fields["ack_ms"]["max"]) == (pytest.approx(1.5, 0.001), pytest.approx(2.5, 0.001))
    shown = dict(zip(COLUMNS, row(fields), strict=True))
    assert shown["ack_ms.p50"] == fields["ack_ms"]["p50"]
    assert shown["ack_ms.max"] == fields["ack_ms"]["max"]
    assert (shown["cpu.servers.sum"], shown["cpu.servers.max"]) == (0.75, 0.5)
    assert (shown["cpu.generator.sum"], shown["cpu.generator.max"]) == (0.7, 0.4)
    assert (shown["failover_ms.p50"], shown["failover_ms.max"]) == (20.0, 30.0)
    assert (shown["acked"], shown["e2e_ms.p50"]) == (2, None)


def test_failover_percentiles_are_of_the_nearest_rank() -> None:
    assert Failover("kill", [float(number) for number in range(100, 0, -1)]).summary() == {
        "p50": 50.0,
        "p99": 99.0,
        "max": 100.0,
    }
    assert Failover("kill", [7.0]).summary() == {"p50": 7.0, "p99": 7.0, "max": 7.0}


def test_what_must_not_be_is_named() -> None:
    assert result().wrong == []
    parts = [counts(lost=1_000, trouble="the first"), counts(lost=1, doubled=2, time_ns=5, trouble="the second")]
    whole = together(parts)
    assert (whole.lost, whole.doubled, whole.time_ns, whole.trouble) == (1_001, 2, 5, "the first")
    assert result(counts=whole).wrong == ["1,001 lost", "2 doubled"]
