"""Many sessions, few of them: real servers, a real kill, everybody back, figures that fit together."""

from pathlib import Path

import pytest

from benchmarks.driver import Load
from benchmarks.sessions import measure, one_round
from tests.cluster.processes import running

LOAD = Load("rate", seconds=0.3, warm_up_s=0.1, rate=100, quiet_s=2.0)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_everybody_comes_back_when_the_primary_dies(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        result = await one_round(cluster, LOAD, sessions=30, few=4, at_once=5)
    back = result["back_s"]
    assert 0 < back["first"] <= back["p50"] <= back["last"]
    assert result["rss_mib_all"] >= result["rss_mib_few"] > 0
    for phase in ("few", "all", "after"):
        assert result[phase]["acked_per_s"] > 0
        assert result[phase]["ack_ms"]["p99"] >= result[phase]["ack_ms"]["p50"] > 0


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_names_that_are_known_log_in_again_in_the_next_round() -> None:
    figures = await measure(2, LOAD, sessions=10, few=4, at_once=5)
    assert len(figures["rounds"]) == len(figures["all_back_s"]) == 2
    assert figures["logins_per_s"] > 0
