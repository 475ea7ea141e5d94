"""Copied and moved directories: two processes that say they are the same member."""

from __future__ import annotations

from chatsvc.replication.events import Role
from tests.replication.cluster import Cluster, Server
from tests.replication.test_streams import formed


def copy(cluster: Cluster, name: str, to: str) -> None:
    """Start a server on a copy of that server's directory, at an address of its own."""
    original, server = cluster[name], Server(cluster, to)
    cluster.servers[to] = server
    server.dir_id, server.starts = original.dir_id, original.starts
    disk = original.disk
    server.disk.cluster_id, server.disk.entries = disk.cluster_id, list(disk.entries)
    server.disk.promised, server.disk.commit_index = disk.promised, disk.commit_index
    cluster.start(to)


def test_a_copy_that_has_visited_deafens_nobody_to_the_original() -> None:
    cluster = formed()
    for _ in range(2):
        copy(cluster, "b", "d")
        cluster.run(2_000)
        cluster.kill("d")
        cluster.run(500)
    cluster.kill("a")
    assert cluster.write(b"b and c elect", ms=3_000), cluster.describe() + cluster.log()


def test_a_copy_of_the_primary_s_directory_deposes_nobody() -> None:
    cluster = formed()
    copy(cluster, "a", "d")
    cluster.run(5_000)
    assert cluster.primary() is cluster["a"]
    assert cluster["d"].core.reign is None
    assert cluster["b"].core.role is Role.BACKUP
    assert cluster.write(b"a serves")


def test_a_directory_that_was_moved_is_heard_once_its_old_process_is_dead() -> None:
    cluster = formed()
    cluster.kill("b")
    copy(cluster, "b", "d")
    assert cluster.run(5_000, lambda: cluster.all_in_sync("acd")), cluster.describe()


def test_one_heard_first_at_a_copy_s_address_is_heard_once_the_copy_is_gone() -> None:
    """c has forgotten b when the copy visits, so it takes the copy for b; then the copy ends."""
    cluster = formed()
    cluster.kill("c")
    assert cluster.write(b"without c")
    cluster.cut_both("bc")
    cluster.start("c")
    copy(cluster, "b", "d")
    cluster.run(2_000)
    cluster.kill("d")
    cluster.heal()
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc"))
    cluster.kill("a")
    assert cluster.write(b"b and c elect", ms=5_000), cluster.describe()
