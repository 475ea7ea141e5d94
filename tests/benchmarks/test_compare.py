"""The comparison, tiny: real processes of both servers, sound runs, figures that fit together."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import nats
from benchmarks.compare import compare, server_cpu_us, summarise, table
from benchmarks.driver import Load

LOAD = Load("saturate", seconds=0.3, warm_up_s=0.1, window=4, pairs=3)


def test_both_servers_are_compared_under_the_same_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = compare([LOAD], rounds=1, directory=tmp_path, backups=0, peers=["prototype"])
    results = figures[0]["W=4"]
    assert list(results) == ["prototype", "chatsvc"]
    for result in results.values():
        assert result.is_sound
        assert result.acked_per_s > 0
        assert server_cpu_us(result) is not None
    (acked, *_) = summarise([LOAD], figures)
    assert acked.measure == "acked/s"
    ratio = acked.ratios["prototype"]
    assert ratio.median == pytest.approx(results["chatsvc"].acked_per_s / results["prototype"].acked_per_s)
    assert ratio.lowest == ratio.median == ratio.highest
    assert table([acked]).count("\n") == 2
    assert "delivered/s" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is left of the servers' data"


@pytest.mark.skipif(nats.executable() is None, reason="no nats-server, see the extra `peers`")
def test_all_that_three_nats_servers_acknowledge_is_delivered(tmp_path: Path) -> None:
    offline = replace(LOAD, mode="offline", messages=20)
    results = compare([LOAD, offline], rounds=1, directory=tmp_path, backups=2, peers=["nats"])[0]
    for load in (LOAD, offline):
        result = results[load.name]["nats"]
        assert result.is_sound
        assert result.sent == result.acked == result.delivered > 0
    assert len(results["W=4"]["nats"].cpu["servers"]) == 3
    assert results["offline"]["nats"].sent == 3 * 20
