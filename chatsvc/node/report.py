"""A server's view of itself and of its cluster, for `status`."""

from chatsvc.engine import EngineStatus, MemberStatus
from chatsvc.node.machine import Machine
from chatsvc.replication import Identity, Mode, Role, Status


def report(
    status: Status, identity: Identity, mode: Mode, machine: Machine, *, serving: bool, role_since_us: int
) -> EngineStatus:
    """See `Engine.status`.

    Args:
        status: the replica's.
        identity: of this process.
        mode: of the cluster.
        machine: the chat state.
        serving: whether clients are served here.
        role_since_us: since when the replica has its role; microseconds since the epoch.
    """
    config = status.config
    role = Role.WAITING if status.role == Role.CANDIDATE else status.role
    own = MemberStatus(
        name=identity.name,
        address=identity.address,
        role=role.value,
        in_sync=identity.dir_id in status.in_sync and role in (Role.PRIMARY, Role.BACKUP),
        durable_index=status.durable_index,
        applied_index=machine.applied_index,
        state_hash=machine.state.digest,
        hash_index=machine.applied_index,
        role_since_us=role_since_us,
    )
    members = [own]
    for member in config.members if config is not None else ():
        if member.dir_id == identity.dir_id:
            continue
        is_primary = status.primary is not None and status.primary.dir_id == member.dir_id
        in_sync = member.dir_id in status.in_sync
        members.append(
            MemberStatus(
                name=member.name,
                address=member.address,
                role="primary" if is_primary else "backup" if in_sync else "learner",
                in_sync=in_sync,
                durable_index=status.durable_of.get(member.dir_id, 0),
                applied_index=0,
                state_hash=b"",
                hash_index=0,
                role_since_us=0,
            )
        )
    return EngineStatus(
        cluster_id=identity.cluster_id,
        mode=mode.value,
        epoch=status.epoch.counter or status.promised.counter,
        primary=status.primary.address if status.primary is not None else "",
        commit_index=status.commit_index,
        degraded=config is not None and config.degraded,
        forced=config is not None and config.forced,
        holes=machine.holes,
        waiting_for=list(status.waiting_for),
        problem=status.problem,
        serving=serving,
        last_index=status.last_index,
        self_member=own,
        members=sorted(members, key=lambda member: member.address),
    )
