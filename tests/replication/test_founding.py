from random import Random

from chatsvc.replication.configs import decode_config
from chatsvc.replication.events import AppendEntries, SaveCluster, SavePromise
from chatsvc.replication.founding import found
from chatsvc.replication.identity import NO_CLUSTER, Identity, boot_id

SELF = Identity(NO_CLUSTER, b"dir-a", boot_id(1, 0), "a:1", "a")


def test_a_new_cluster_begins_with_a_config_of_its_founder_alone() -> None:
    state, view, save = found(SELF, Random(1).randrange)
    cluster, promise, entries = save.operations
    assert isinstance(cluster, SaveCluster)
    assert len(cluster.cluster_id) == 16
    assert isinstance(promise, SavePromise)
    assert promise.epoch == state.promised
    assert isinstance(entries, AppendEntries)
    config = decode_config(entries.entries[0])
    assert config.in_sync == (b"dir-a",)
    assert config.epoch == state.promised
    assert view.last == config.position


def test_two_foundings_make_two_clusters() -> None:
    ids = {found(SELF, Random(seed).randrange)[2].operations[0] for seed in range(3)}
    assert len(ids) == 3


def test_a_given_cluster_id_is_kept() -> None:
    named = Identity(b"given", b"dir-a", boot_id(1, 0), "a:1", "a")
    assert found(named, Random(1).randrange)[2].operations[0] == SaveCluster(b"given")
