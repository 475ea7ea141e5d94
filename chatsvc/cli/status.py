"""`chatsvc status`: the servers of a cluster, and how they are."""

from typing import TYPE_CHECKING

import click

from chatsvc.cli.failures import DONE, NO_SERVER, say
from chatsvc.cli.options import json_option, servers_option
from chatsvc.cli.render import clock, harmless, json_line, table

if TYPE_CHECKING:
    from chatsvc.client import ClusterStatus


@click.command(short_help="Ask all servers how they are.")
@json_option
@servers_option
def status(as_json: bool, servers: tuple[str, ...] | None) -> int:
    """Ask all servers at once how they are; takes at most 2 seconds.

    The exit status is 3 if there is no primary; what is known is printed all the same.

    \b
    Example:
      chatsvc status
      chatsvc status --json --server 127.0.0.1:50051
    """
    from chatsvc.client import status as ask_servers

    found = ask_servers(servers)
    print(_as_json(found) if as_json else _as_text(found), flush=True)
    if found.primary is None:
        say("there is no primary" if found.cluster_id else "no server answers")
        return NO_SERVER
    return DONE


def _as_json(found: "ClusterStatus") -> str:
    return json_line(
        {
            "cluster_id": found.cluster_id.hex() or None,
            "mode": found.mode or None,
            "epoch": found.epoch,
            "primary": found.primary,
            "commit_index": found.commit_index,
            "degraded": found.degraded,
            "forced": found.forced,
            "holes": found.holes,
            "members": [
                {
                    "name": member.name,
                    "address": member.address,
                    "role": member.role,
                    "in_sync": member.in_sync,
                    "durable_index": member.durable_index,
                    "applied_index": member.applied_index,
                    "state_hash": member.state_hash.hex(),
                    "hash_index": member.hash_index,
                    "waiting_for": list(member.waiting_for),
                    "problem": member.problem,
                }
                for member in found.members
            ],
        }
    )


def _as_text(found: "ClusterStatus") -> str:
    rows = [["NAME", "ADDRESS", "ROLE", "SINCE", "IN SYNC", "BEHIND", "SESSIONS"]]
    notes: list[str] = []
    for member in found.members:
        answered = member.role != "unreachable"
        behind = max(0, found.commit_index - member.durable_index)
        rows.append(
            [
                harmless(member.name) or "-",
                harmless(member.address),
                member.role,
                clock(member.since) if member.since is not None else "-",
                "yes" if member.in_sync else "no",
                f"{behind:,}" if answered else "-",
                f"{member.sessions:,}" if answered else "-",
            ]
        )
        if member.waiting_for:
            notes.append(f"{harmless(member.name)} is waiting for {harmless(', '.join(member.waiting_for))}")
        if member.problem:
            notes.append(f"{harmless(member.name)}: {harmless(member.problem)}")
    lines = [table(rows), *notes]
    if found.cluster_id:
        facts = [
            f"cluster {found.cluster_id.hex()[:8]}",
            f"mode {harmless(found.mode)}",
            f"epoch {found.epoch}",
            f"primary {harmless(found.primary or 'none')}",
            f"commit index {found.commit_index:,}",
        ]
        lines.insert(0, ", ".join(facts))
    if found.degraded:
        lines.append("degraded: a server went on alone on silence alone; entries may be split until all are back")
    if found.forced:
        lines.append("forced: an operator has overridden the rules once; acknowledged entries may be missing")
    if found.holes:
        lines.append(f"{found.holes:,} acknowledged operations were not found in the log: something was lost")
    return "\n".join(lines)
