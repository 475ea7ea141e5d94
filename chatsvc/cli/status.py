"""`chatsvc status`: the servers of a cluster, and how they are."""

from typing import TYPE_CHECKING

import click

from chatsvc.cli.failures import DONE, NO_SERVER, say
from chatsvc.cli.options import json_option, servers_option
from chatsvc.cli.render import harmless, json_line, table

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
                }
                for member in found.members
            ],
        }
    )


def _as_text(found: "ClusterStatus") -> str:
    rows = [["NAME", "ADDRESS", "ROLE", "IN SYNC", "DURABLE", "APPLIED", "SESSIONS"]]
    for member in found.members:
        answered = member.role != "unreachable"
        rows.append(
            [
                harmless(member.name) or "-",
                harmless(member.address),
                member.role,
                "yes" if member.in_sync else "no",
                f"{member.durable_index}" if answered else "-",
                f"{member.applied_index}" if answered else "-",
                f"{member.sessions}" if answered else "-",
            ]
        )
    lines = [table(rows)]
    if found.cluster_id:
        facts = [
            f"cluster {found.cluster_id.hex()[:8]}",
            f"mode {harmless(found.mode)}",
            f"epoch {found.epoch}",
            f"primary {harmless(found.primary or 'none')}",
            f"commit index {found.commit_index}",
        ]
        if found.degraded:
            facts.append("degraded: entries may have been lost or split")
        lines.insert(0, ", ".join(facts))
    return "\n".join(lines)
