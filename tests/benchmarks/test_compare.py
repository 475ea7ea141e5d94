"""The comparison, tiny: real processes of both servers, sound runs, figures that fit together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks import nats
from benchmarks.compare import CONTENDERS, compare, server_cpu_us, summarise, table
from benchmarks.driver import Load, Target, run

LOAD = Load("saturate", seconds=1.0, warm_up_s=0.2, window=4, pairs=3)


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
    with CONTENDERS["nats"](tmp_path, 2) as target:
        saturated, offline = run(target, LOAD), run(target, replace(LOAD, mode="offline", messages=20))
    for result in (saturated, offline):
        assert result.is_sound
        assert result.sent == result.acked == result.delivered > 0
    assert len(saturated.cpu["servers"]) == 3
    assert offline.sent == 3 * 20


def test_a_round_in_which_a_server_turns_people_away_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = 0

    @contextmanager
    def gone_at_first(directory: Path, backups: int) -> Iterator[Target]:
        nonlocal starts
        starts += 1
        with CONTENDERS["chatsvc"](directory, backups) as target:
            if starts == 1:
                psutil.Process(target.pids[0]).kill()
            yield target

    monkeypatch.setitem(CONTENDERS, "prototype", gone_at_first)
    figures = compare([LOAD], rounds=1, directory=tmp_path, backups=0, peers=["prototype"])
    assert starts == 2
    assert figures[0]["W=4"]["prototype"].is_sound
    assert "round 1 is done again" in capsys.readouterr().err
