"""What a server is at its start: its identity, and what its directory remembers."""

import asyncio
import secrets

import msgspec

from chatsvc import failpoints
from chatsvc.node.probes import identify
from chatsvc.replication import HardState, Identity, LogView, Settings, boot_id
from chatsvc.replication.founding import found
from chatsvc.replication.identity import NO_CLUSTER, NONCE_BITS
from chatsvc.storage import DataDirectory, DirectoryLocked, DirectoryUnusable, StorageThread

IDENTIFY_S = 0.5
"""How long other servers are waited for at the start, to say who they are."""


class NodeSettings(msgspec.Struct, frozen=True):
    """What a node is started with.

    Attributes:
        name: label for people.
        address: host:port for clients and servers.
        found: whether an empty directory founds a new cluster.
        replication: settings of the replica.
    """

    name: str
    address: str
    found: bool
    replication: Settings = Settings()


class OpenedReplica(msgspec.Struct, frozen=True):
    """What a replica starts from."""

    identity: Identity
    hard_state: HardState
    view: LogView


async def open_replica(directory: DataDirectory, settings: NodeSettings, log_thread: StorageThread) -> OpenedReplica:
    """Read the log; found a cluster in an empty directory if that is wanted and nobody of one answers.

    Raises:
        StorageError: the directory can't be used; the text says why and what to do.
    """
    stored = await log_thread.run(directory.log.load)
    starts = await log_thread.run(directory.log.count_start)
    if failpoints.ON:
        failpoints.reach("start_counted")
    cluster_id, hard_state, view = stored.cluster_id, stored.hard_state, stored.view
    members = view.configs[-1].members if view.configs else ()
    former = [member.address for member in members if member.dir_id == directory.dir_id]
    addresses = {*former, *settings.replication.join} - {settings.address}
    lives = await _look_around(directory, settings, cluster_id, addresses)
    boot = boot_id(starts, secrets.randbits(NONCE_BITS))
    if not cluster_id and settings.found and not lives:
        cluster_id = secrets.token_bytes(16)
        identity = Identity(cluster_id, directory.dir_id, boot, settings.address, settings.name)
        hard_state, view, save = found(identity, secrets.randbelow, settings.replication.mode)
        await log_thread.run(directory.log.carry_out, save.operations)
    identity = Identity(cluster_id or NO_CLUSTER, directory.dir_id, boot, settings.address, settings.name)
    return OpenedReplica(identity, hard_state, view)


async def _look_around(
    directory: DataDirectory, settings: NodeSettings, cluster_id: bytes, addresses: set[str]
) -> bool:
    """Ask who else is at work, before this server says a word that others remember.

    Args:
        directory, settings: of this server.
        cluster_id: that this directory belongs to; empty: none yet.
        addresses: the former one of this directory, and those to join.

    Returns:
        Whether a server of a cluster answers.

    Raises:
        DirectoryLocked: another process runs on a copy of this directory.
        DirectoryUnusable: a server to join is of another cluster.
    """
    path, lives = directory.path, False
    identities = await asyncio.gather(*(identify(address, IDENTIFY_S) for address in addresses))
    for address, identity in zip(addresses, identities, strict=True):
        if identity is None:
            continue
        if identity.dir_id == directory.dir_id:
            raise DirectoryLocked(
                f"the server at {address} runs on a copy of {path}: stop that one, or use an empty directory"
            )
        if identity.cluster_id == NO_CLUSTER:
            continue
        lives = True
        if cluster_id and identity.cluster_id != cluster_id and address in settings.replication.join:
            raise DirectoryUnusable(
                f"{path} belongs to cluster {cluster_id.hex()[:8]}, the server at {address} to "
                f"{identity.cluster_id.hex()[:8]}: use an empty directory, or join a server of the same cluster"
            )
    return lives
