"""The beginning of a cluster: a log whose only entry makes its writer the only member."""

from __future__ import annotations

from collections.abc import Callable

from chatsvc.replication.candidacy import LOTS
from chatsvc.replication.configs import ConfigContent, Mode, encode_config
from chatsvc.replication.entries import NO_CHAIN, EntryKind, make_entry
from chatsvc.replication.events import AppendEntries, HardState, LogView, Save, SaveCluster, SavePromise
from chatsvc.replication.identity import NO_CLUSTER, Epoch, Identity, Member
from chatsvc.replication.log import view_of

CLUSTER_ID_BYTES = 16


def found(
    identity: Identity, draw: Callable[[int], int], mode: Mode = Mode.AVAILABLE
) -> tuple[HardState, LogView, Save]:
    """The beginning of a new cluster of one: CONFIG {self}, in its first epoch.

    The host carries out the Save on an empty directory, then starts a Replica with that state. Where the
    identity names no cluster yet, a new id is drawn; the Save tells it.
    """
    cluster_id = identity.cluster_id
    if cluster_id == NO_CLUSTER:
        cluster_id = bytes(draw(256) for _ in range(CLUSTER_ID_BYTES))
    epoch = Epoch(1, draw(LOTS), identity.dir_id)
    member = Member(identity.dir_id, identity.address, identity.name)
    content = ConfigContent((identity.dir_id,), (member,), mode, "founded")
    entry = make_entry(epoch, 1, EntryKind.CONFIG, encode_config(content), NO_CHAIN)
    save = Save(0, (SaveCluster(cluster_id), SavePromise(epoch), AppendEntries((entry,))))
    return HardState(promised=epoch), view_of((entry,)), save
