"""I16: the walk finds every collection, and what has outgrown its bound."""

from __future__ import annotations

from random import Random

from tests.simulation.cluster import Cluster
from tests.simulation.memory import SMALL, collections_of, too_large
from tests.simulation.parameters import draw


def test_what_grows_without_a_bound_is_found() -> None:
    cluster = Cluster("memory", draw(Random("memory"), servers=3))
    cluster.boot()
    process = cluster.primaries()[0].process
    assert process is not None
    replica = process.replica
    assert replica.reign is not None
    paths = {path for path, _ in collections_of(replica)}
    assert {"replica.log.tail", "replica.evidence._probed_at", "replica.reign.streams.by_member[].in_flight"} <= paths
    assert too_large(replica) is None

    probed_at = replica.evidence._probed_at
    probed_at.update({f"10.0.0.{number}:1": 0 for number in range(SMALL + 1)})
    assert too_large(replica) == ("replica.evidence._probed_at", len(probed_at))
    probed_at.clear()

    for stream in replica.reign.streams.by_member.values():
        stream.in_flight.extend([(1, 1)] * (replica.settings.window_entries + 2))
    found = too_large(replica)
    assert found is not None
    assert found[0] == "replica.reign.streams.by_member[].in_flight"


def test_entries_that_everybody_has_leave_the_memory() -> None:
    cluster = Cluster("tail", draw(Random("tail"), servers=3))
    cluster.boot()
    process = cluster.primaries()[0].process
    assert process is not None
    log = process.replica.log
    bound = process.replica.settings.tail_entries_max * 2
    log.tail.extend([log.tail[-1]] * bound)
    log.tail_bytes = sum(len(entry.payload) for entry in log.tail)
    found = too_large(process.replica)
    assert found is not None
    assert found[0] == "replica.log.tail"
