"""Fixtures for tests on real server processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.processes import Cluster, running
from tests.cluster.traffic import Traffic


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three servers, all in sync."""
    async with running(tmp_path) as cluster:
        yield cluster


@pytest.fixture
async def traffic(cluster: Cluster) -> AsyncIterator[Traffic]:
    """People who chat through the cluster; at the end of the test everything they did is checked."""
    traffic = Traffic()
    await traffic.start(cluster.addresses)
    await traffic.flows()
    yield traffic
    try:
        await traffic.settle()
    except BaseException:
        print(cluster.outputs())
        raise
