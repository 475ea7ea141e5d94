"""What grows with what is stored: login, send, a page of history, restart, catch-up.

    python -m benchmarks.growth --messages 1000,100000,1000000,10000000
    python -m benchmarks.growth --accounts 100,10000,1000000
    python -m benchmarks.growth --messages 1000,1000000 --catch-up --json figures.json

For each size a directory is filled by a server in a process of its own, whose engine gets the commands that clients'
frames would become; nothing but the network is left out, so the directory is what a server leaves behind. Then one
server runs on each of them, all at the same time, and they take turns: in every round each is asked for --samples
logins (a new connection each), sends, and pages of 50 messages of randomly chosen conversations, one after the other,
through raw sockets. Medians are compared with those of the smallest size in the same round.

`restart` is the time from the start of the process, after a SIGTERM and after a kill -9, until it serves clients.
With --catch-up an empty server then joins each, and is timed until it is in sync.

Prints a table and one JSON object.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import secrets
import shutil
import signal
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.compare import Ratio, machine
from benchmarks.http2 import GrpcStream
from chatsvc.domain.commands import OpenSession, Sends
from chatsvc.domain.outcomes import Outcome, SendsDone, SessionOpened
from chatsvc.server import Server, ServerSettings
from chatsvc.v1 import chat_pb2 as pb
from tests.cluster.processes import Cluster, free_ports

ACCOUNTS = 1_000
"""Of a directory filled with messages."""
MESSAGES = 1_000
"""Of a directory filled with accounts."""
CONVERSATION_MESSAGES = 100
CONVERSATIONS_MAX = 10_000
COMMAND_MESSAGES = 50
"""As a client that sends fast puts into one frame."""
COMMANDS_AT_ONCE = 64
LOGINS_AT_ONCE = 1_024
PAGE = 50
TEXT = "t" * 105
ANSWER_S = 20.0
START_S = 600.0


@dataclass(frozen=True)
class Size:
    """What a directory holds.

    Attributes:
        messages: a multiple of `CONVERSATION_MESSAGES`.
        accounts: at least two.
    """

    messages: int
    accounts: int

    @property
    def conversations(self) -> int:
        """So many, all of the same length."""
        return max(1, min(CONVERSATIONS_MAX, self.messages // CONVERSATION_MESSAGES))

    def conversation(self, number: int) -> tuple[int, int]:
        """Sender and recipient in a conversation, as numbers of accounts; no two conversations have the same."""
        sender = number % self.accounts
        return sender, (sender + 1 + number // self.accounts) % self.accounts


def user_name(account: int) -> str:
    """Of an account, by number."""
    return f"user{account:07}"


# ---- filling


async def fill(directory: Path, size: Size) -> None:
    """Make a data directory with that content."""

    def failed(error: Exception | None) -> None:
        raise RuntimeError(f"the server that fills {directory} failed: {error}")

    server = Server(ServerSettings(directory, listen="127.0.0.1:0"), failed)
    await server.start()
    node = server.node
    assert node is not None
    await node.serving()
    clients = [secrets.token_bytes(16) for _ in range(size.accounts)]
    op_seqs = [1] * size.accounts

    def taken(outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, SendsDone) and not outcome.refusals:
                last = outcome.messages[-1]
                node.acknowledge(last.recipient_id, last.inbox_seq)
            elif not isinstance(outcome, SessionOpened):
                failed(RuntimeError(f"unexpected: {outcome}"))

    for first in range(0, size.accounts, LOGINS_AT_ONCE):
        accounts = range(first, min(first + LOGINS_AT_ONCE, size.accounts))
        await node.room()
        taken(await node.execute(*(OpenSession(user_name(n), clients[n], True, True, 0, 1) for n in accounts)))
    commands = iter(range(size.messages // COMMAND_MESSAGES))

    async def send() -> None:
        for number in commands:
            sender, recipient = size.conversation(number % size.conversations)
            op_seq = op_seqs[sender]
            op_seqs[sender] += COMMAND_MESSAGES
            messages = [(user_name(recipient), TEXT)] * COMMAND_MESSAGES
            await node.room()
            taken(await node.execute(Sends(clients[sender], op_seq, op_seq - 1, True, messages)))

    await asyncio.gather(*(send() for _ in range(COMMANDS_AT_ONCE)))
    await node.flush_acknowledgements()
    await node.list_accounts("", 1, "")  # reads only what is in the tables: so all of it is there now
    await server.stop()


def _fill(directory: Path, size: Size) -> None:
    asyncio.run(fill(directory, size))


async def filled(directory: Path, size: Size) -> float:
    """`fill` in a process of its own; returns the seconds it took.

    Raises:
        RuntimeError: it did not work.
    """
    began_s = time.monotonic()
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(directory, size))
    process.start()
    await asyncio.to_thread(process.join)
    if process.exitcode:
        raise RuntimeError(f"filling {directory} failed")
    return time.monotonic() - began_s


# ---- asking


class Visitor:
    """A user on a connection of its own, who asks for one thing at a time."""

    def __init__(self) -> None:
        self._stream = GrpcStream("/chatsvc.v1.Chat/Session", {}, self._take, self._ended)
        self._awaited: asyncio.Future[pb.Event]

    @classmethod
    async def log_in(cls, address: str, user: str) -> tuple["Visitor", float]:
        """Connect and log in, which takes that many seconds."""
        host, _, port = address.rpartition(":")
        began_s, visitor = time.perf_counter(), cls()
        await asyncio.get_running_loop().create_connection(lambda: visitor._stream, host, int(port))
        login = pb.Login(user=user, client_id=secrets.token_bytes(16))
        await visitor._ask(pb.Operation(login=login), "welcome")
        return visitor, time.perf_counter() - began_s

    async def send(self, to: str) -> float:
        """Send a message; seconds to its acknowledgement."""
        began_s = time.perf_counter()
        await self._ask(pb.Operation(send=pb.Send(to=to, text=TEXT)), "sent")
        return time.perf_counter() - began_s

    async def read(self, peer: str) -> float:
        """Read a page of history; seconds."""
        began_s = time.perf_counter()
        event = await self._ask(pb.Operation(history=pb.History(peer=peer, limit=PAGE)), "conversation")
        assert len(event.conversation.messages) == PAGE, "every conversation has as many"
        return time.perf_counter() - began_s

    def leave(self) -> None:
        """Cut the connection."""
        self._stream.close()

    async def _ask(self, operation: pb.Operation, kind: str) -> pb.Event:
        self._awaited = asyncio.get_running_loop().create_future()
        self._stream.send(pb.SessionRequest(operations=[operation]).SerializeToString())
        self._stream.flush()
        event = await asyncio.wait_for(self._awaited, ANSWER_S)
        if event.WhichOneof("kind") != kind:
            raise RuntimeError(f"the answer is no {kind}: {event}")
        return event

    def _take(self, frames: list[bytes]) -> None:
        for frame in frames:
            for event in pb.SessionResponse.FromString(frame).events:
                if event.WhichOneof("kind") != "message" and not self._awaited.done():
                    self._awaited.set_result(event)

    def _ended(self, reason: str) -> None:
        if not self._awaited.done():
            self._awaited.set_exception(RuntimeError(reason))


async def ask(address: str, size: Size, samples: int) -> dict[str, float]:
    """Medians in milliseconds of logins, sends and pages of history."""
    times: dict[str, list[float]] = {"login": [], "send": [], "history": []}
    for _ in range(samples):
        sender, recipient = map(user_name, size.conversation(random.randrange(size.conversations)))
        visitor, login_s = await Visitor.log_in(address, sender)
        times["login"].append(login_s)
        times["send"].append(await visitor.send(recipient))
        times["history"].append(await visitor.read(recipient))
        visitor.leave()
    return {name: round(statistics.median(values) * 1e3, 3) for name, values in times.items()}


# ---- the whole


async def restarted(cluster: Cluster, number: signal.Signals) -> float:
    """End the server with that signal and start it again; seconds until it serves."""
    server = cluster["a"]
    server.signal(number)
    await asyncio.to_thread(server.wait)
    began_s = time.monotonic()
    server.start()
    await cluster.primary(START_S)
    return round(time.monotonic() - began_s, 3)


async def measure(sizes: list[Size], directory: Path, rounds: int, samples: int, catch_up: bool) -> dict[str, Any]:
    """All of it.

    Raises:
        RuntimeError: something did not work.
    """
    figures: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        clusters, ports = [], free_ports(2 * len(sizes))
        for place, size in enumerate(sizes):
            own = directory / f"{size.messages}-{size.accounts}"
            own.mkdir()
            figure: dict[str, Any] = {"messages": size.messages, "accounts": size.accounts}
            figure["fill_s"] = round(await filled(own / "a", size), 1)
            figure["bytes"] = sum(file.stat().st_size for file in (own / "a").iterdir())
            cluster = Cluster.local(own, 2, ports[2 * place : 2 * place + 2])
            stack.push_async_callback(cluster.close)
            began_s = time.monotonic()
            cluster["a"].start()
            await cluster.primary(START_S)
            figure["first_start_s"] = round(time.monotonic() - began_s, 3)
            clusters.append(cluster)
            figures.append(figure)
            print(json.dumps(figure), file=sys.stderr, flush=True)
        asked: list[list[dict[str, float]]] = []
        for number in range(rounds):
            order = list(range(len(sizes)))
            order = order[number % len(order) :] + order[: number % len(order)]
            medians = {place: await ask(clusters[place]["a"].address, sizes[place], samples) for place in order}
            asked.append([medians[place] for place in range(len(sizes))])
            print(json.dumps(asked[-1]), file=sys.stderr, flush=True)
        for place, (figure, cluster) in enumerate(zip(figures, clusters, strict=True)):
            for name in ("login", "send", "history"):
                of_rounds = [medians[place][name] for medians in asked]
                figure[f"{name}_ms"] = statistics.median(of_rounds)
                figure[f"{name}_ratio"] = str(Ratio.of([medians[place][name] / medians[0][name] for medians in asked]))
            figure["rss_mib"] = round(psutil.Process(cluster["a"].pid).memory_info().rss / 2**20, 1)
            terminated = [await restarted(cluster, signal.SIGTERM) for _ in range(rounds)]
            killed = []
            for _ in range(rounds):
                await ask(cluster["a"].address, sizes[place], 10)  # so that something is not in the tables
                killed.append(await restarted(cluster, signal.SIGKILL))
            figure["restart_s"], figure["restart_killed_s"] = statistics.median(terminated), statistics.median(killed)
            if catch_up:
                began_s = time.monotonic()
                cluster["b"].start()
                await cluster.all_in_sync(deadline_s=START_S)
                figure["catch_up_s"] = round(time.monotonic() - began_s, 3)
                figure["catch_up_messages_per_s"] = round(sizes[place].messages / figure["catch_up_s"])
                cluster["b"].kill()
            print(json.dumps(figure), file=sys.stderr, flush=True)
    return {**machine(), "sizes": figures, "rounds": asked}


def table(figures: list[dict[str, Any]]) -> str:
    """For people, in Markdown: a row a measure, a column a size."""
    names = [name for name in figures[0] if name not in ("messages", "accounts")]
    heads = [f"{figure['messages']:,} messages, {figure['accounts']:,} accounts" for figure in figures]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(figures)]
    for name in names:
        cells = [f"{value:,}" if isinstance(value := figure[name], int | float) else value for figure in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description="What grows with what is stored.")
    parser.add_argument("--messages", default="", metavar="N,…", help=f"sizes, with {ACCOUNTS:,} accounts each")
    parser.add_argument("--accounts", default="", metavar="N,…", help=f"sizes, with {MESSAGES:,} messages each")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=200, help="of each kind in a round (default: %(default)s)")
    parser.add_argument("--catch-up", action="store_true", help="time an empty server that joins, too")
    parser.add_argument("--directory", type=Path, help="for the data (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    options = parser.parse_args()
    sizes = [Size(int(messages), ACCOUNTS) for messages in options.messages.split(",") if messages]
    sizes += [Size(MESSAGES, int(accounts)) for accounts in options.accounts.split(",") if accounts]
    if not sizes or any(size.messages % CONVERSATION_MESSAGES or size.accounts < 2 for size in sizes):
        parser.error(f"say sizes: messages in multiples of {CONVERSATION_MESSAGES}, two accounts or more")
    directory = Path(tempfile.mkdtemp(prefix="chatsvc-growth", dir=options.directory))
    try:
        figures = asyncio.run(measure(sizes, directory, options.rounds, options.samples, options.catch_up))
    except RuntimeError as error:
        sys.exit(f"benchmarks.growth: {error}")
    finally:
        shutil.rmtree(directory)
    print(table(figures["sizes"]))
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
