"""What is done to a cluster. One function for each class of faults; which, to whom and for how long is drawn by dice.

A fault that needs something this machine does not permit says so by its `needs`. Its bound says how long a sender may
be without an answer: how long the rules of replication let writes wait for it, and `SLACK_S` for a busy machine.
"""

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from chatsvc import failpoints
from chatsvc.storage.wal import wal_path
from tests.chaos.history import Fault
from tests.chaos.network import CLIENTS, Link, Network, both_ways
from tests.chaos.people import CommandLine
from tests.cluster.processes import Cluster, ServerProcess

SUSPECT_S, EVICT_S, LAG_S = 1.2, 5.0, 15.0
"""How long writes wait for a silent primary (with the time of an election), for a silent backup, for a slow disk."""

SMALL_DISK_BYTES = 2 << 30
"""What fits on a small disk."""

START_S = 3.0
"""A restart of a server: the process, its log, its place in the cluster."""

ELECTED = ("serving", "promise", "propose", "config", "reply", "answer", "acknowledgements", "file", "truncate")
"""Beginnings of the names of failpoints that only a primary passes, or that are passed when it changes."""

FREQUENT = {"turn", "log_before_write", "log_after_write", "saved", "send_before", "send_after", "apply_before"}
"""Failpoints that are passed all the time."""

STORAGE_WORDS = re.compile(
    "damaged|rolled back|missing|emptied|ends at entry|belongs to another directory|newer chatsvc"
)


class Limits(msgspec.Struct, frozen=True):
    """How bad it may get.

    Attributes:
        pause_s: longest pause or cut.
        slack_s: added to every bound.
    """

    pause_s: float
    slack_s: float


class World:
    """What faults act on.

    Attributes:
        primary: name of the server that served when the fault began.
        small_disks: servers on a file system of their own, and where it is mounted.
        failpoints: how often a server died or slept at each named point.
        counts: what was done, in words, for the report.
        damaged: the server whose directory was tampered with; it may refuse it.
        troubles: servers that ended and should not have.
    """

    def __init__(
        self,
        cluster: Cluster,
        network: Network | None,
        command_lines: list[CommandLine],
        small_disks: dict[str, Path],
        dice: random.Random,
        limits: Limits,
    ) -> None:
        self.cluster, self.network, self.command_lines = cluster, network, command_lines
        self.small_disks, self.dice, self.limits = small_disks, dice, limits
        self.primary = ""
        self.failpoints: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.fault: Fault
        self.damaged = ""
        self.troubles: list[str] = []

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + times

    def begin(self, what: str, waits_s: float) -> None:
        """The fault begins: say what it is, and how long writes may wait for it."""
        self.fault.what, self.fault.bound_s = what, waits_s + self.limits.slack_s
        self.fault.began = time.monotonic()

    def acted(self, how: str) -> None:
        """Something shows that it acted."""
        self.fault.evidence = f"{self.fault.evidence}; {how}" if self.fault.evidence else how

    # ---- choices

    def backups(self) -> list[str]:
        """In random order."""
        names = [name for name in self.cluster.servers if name != self.primary]
        self.dice.shuffle(names)
        return names

    def anybody(self) -> str:
        """The primary as often as not."""
        return self.dice.choice([self.primary, self.dice.choice(self.backups())])

    def pause_s(self, least_s: float = 0.2) -> float:
        """Mostly short, sometimes as long as may be."""
        most_s = self.limits.pause_s
        if most_s <= least_s:
            return least_s
        return round(least_s + (most_s - least_s) * self.dice.random() ** 3, 1)

    def downtime_s(self) -> float:
        return self.dice.choice([0.0, self.dice.uniform(0, 1), self.dice.uniform(0, 3)])

    # ---- servers

    def kill(self, *names: str) -> None:
        """kill -9, all at once."""
        servers = [self.cluster[name] for name in names]
        for server in servers:
            server.signal(signal.SIGKILL)
        for server in servers:
            server.kill()
            assert server.exit_status == -signal.SIGKILL
        self.count("kills", len(names))
        if len(names) == 2:
            self.count("double kills")
        if len(names) == len(self.cluster.servers):
            self.count("full restarts")
        self.acted(f"{', '.join(names)} ended by SIGKILL")

    def start_all(self) -> None:
        """Start whoever is not running, in random order."""
        down = [server for server in self.cluster.servers.values() if not server.is_running]
        self.dice.shuffle(down)
        for server in down:
            server.start()

    async def ended(self, server: ServerProcess, deadline_s: float) -> int | None:
        """Exit status of a server that ends by itself; None: it did not in time."""
        return await until(lambda: server.exit_status, deadline_s)

    async def tend(self) -> None:
        """After a fault, do what an operator does: empty the directory of a server that says that it is damaged."""
        told: set[str] = set()
        while True:
            for server in self.cluster.servers.values():
                if server.is_running or server.name in told:
                    continue
                words = server.words()[-400:].strip()
                if server.name == self.damaged and server.exit_status == 1 and STORAGE_WORDS.search(words):
                    self.acted(f"{server.name} found the damage: {words.splitlines()[-1]}")
                    self.count("damages found")
                    shutil.rmtree(server.data_dir)
                else:
                    told.add(server.name)
                    self.troubles.append(
                        f"{self.fault.kind} ({self.fault.what}): {server.name} ended by itself with status "
                        f"{server.exit_status}: {words.splitlines()[-1:]}"
                    )
                server.start()
            await asyncio.sleep(0.1)

    async def frozen(self, *names: str, pause_s: float) -> None:
        """Stop servers, wait, wake them."""
        for name in names:
            self.cluster[name].signal(signal.SIGSTOP)
        for name in names:
            state = await until(lambda name=name: is_stopped(self.cluster[name].pid) or None, 1.0)  # type: ignore[misc]
            if state:
                self.acted(f"{name} was stopped")
        await asyncio.sleep(pause_s)
        for name in names:
            self.cluster[name].signal(signal.SIGCONT)
        self.count("pauses", len(names))

    async def cut(self, links: list[Link], pause_s: float) -> None:
        """Cut links, show that nothing gets through, wait, mend them."""
        assert self.network is not None
        self.network.cut(*links)
        if not any(self.network.reaches(link) for link in links):
            self.acted(f"nothing got from {' or from '.join(' to '.join(link) for link in links)}")
        await asyncio.sleep(pause_s)
        self.network.mend(*links)
        self.count("cuts")


async def until(found: Callable[[], int | None], deadline_s: float) -> int | None:
    """The first result that is not None; None: there was none in time."""
    try:
        async with asyncio.timeout(deadline_s):
            while (result := found()) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return result
    except TimeoutError:
        return None


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


# ---- processes die


async def kill_primary(world: World) -> None:
    world.begin(f"kill -9 of the primary {world.primary}", SUSPECT_S)
    world.kill(world.primary)
    await asyncio.sleep(world.downtime_s())
    world.start_all()


async def kill_backup(world: World) -> None:
    victim = world.backups()[0]
    world.begin(f"kill -9 of the backup {victim}", SUSPECT_S)
    world.kill(victim)
    await asyncio.sleep(world.downtime_s())
    world.start_all()


async def kill_two(world: World) -> None:
    victims = world.dice.sample(list(world.cluster.servers), 2)
    distance_s = world.dice.choice([0.0, 0.0, world.dice.uniform(0, 0.1), world.dice.uniform(0, 1)])
    world.begin(f"kill -9 of {victims[0]}, {distance_s:.2f} s later of {victims[1]}", 2 * SUSPECT_S + distance_s)
    if distance_s:
        world.kill(victims[0])
        await asyncio.sleep(distance_s)
        world.kill(victims[1])
        world.count("double kills")
    else:
        world.kill(*victims)
    await asyncio.sleep(world.downtime_s())
    world.start_all()


async def kill_successor(world: World) -> None:
    world.begin(f"kill -9 of the primary {world.primary}, then of its successor at once", 2 * SUSPECT_S)
    world.kill(world.primary)
    successor = await world.cluster.primary()
    world.kill(successor)
    world.count("double kills")
    await asyncio.sleep(world.downtime_s())
    world.start_all()


async def kill_all(world: World) -> None:
    downtime_s = world.downtime_s()
    world.begin("kill -9 of all three", 0)
    world.kill(*world.cluster.servers)
    await asyncio.sleep(downtime_s)
    world.start_all()
    async with asyncio.timeout(60):
        while len(await world.cluster.statuses()) < len(world.cluster.servers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    # However long a busy machine takes to start three processes: what is judged is the time after that.
    world.fault.bound_s = time.monotonic() - world.fault.began + EVICT_S + world.limits.slack_s


async def crash_loop(world: World) -> None:
    victim, times = world.anybody(), world.dice.randint(3, 5)
    world.begin(f"{victim} is killed {times} times as it starts", (times + 1) * SUSPECT_S)
    for _ in range(times):
        world.kill(victim)
        world.cluster[victim].start()
        await asyncio.sleep(world.dice.uniform(0.1, 2.0))


async def failpoint(world: World) -> None:
    """A server dies, or stands still, at a named point of its program; those least seen so far come first."""
    fewest = min(world.failpoints.get(name, 0) for name in failpoints.NAMES)
    name = world.dice.choice([name for name in failpoints.NAMES if world.failpoints.get(name, 0) == fewest])
    victim = world.cluster[world.anybody()]
    action = "crash" if world.dice.random() < 0.7 else f"sleep:{world.dice.choice([300, 1_000, 3_000])}"
    times = world.dice.choice([1, 2, 5, 20]) if name in FREQUENT else 1
    world.begin(f"{victim.name} restarts with {name}={action}@{times}", 3 * EVICT_S)
    world.kill(victim.name)
    if name.startswith("directory"):
        shutil.rmtree(victim.data_dir)
    mark = len(victim.words())
    victim.start(environment={failpoints.VARIABLE: f"{name}={action}@{times}"})

    def reached() -> int | None:
        return 1 if f"failpoint {name}: " in victim.words()[mark:] else None

    found = await until(reached, 6.0)
    for _ in range(2):
        # Some points are passed by a primary only, or when one changes.
        if found or not name.startswith(ELECTED):
            break
        in_sync = asyncio.ensure_future(world.cluster.all_in_sync(deadline_s=30.0))
        while not (in_sync.done() or reached()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        in_sync.cancel()
        if not in_sync.done() or reached() or in_sync.result() == victim.name:
            found = reached()
            break
        now = in_sync.result()
        world.kill(now)
        world.cluster[now].start()
        found = await until(reached, 6.0)
    if found:
        world.failpoints[name] = world.failpoints.get(name, 0) + 1
        world.acted(f"{name} was reached")
        await asyncio.sleep(0.5 if action == "crash" else float(action.partition(":")[2]) / 1_000)
    if victim.is_running:
        world.kill(victim.name)
    victim.start()


async def terminate(world: World) -> None:
    victim = world.cluster[world.anybody()]
    world.begin(f"SIGTERM to {victim.name}", SUSPECT_S)
    victim.signal(signal.SIGTERM)
    status = await world.ended(victim, 10.0)
    if status is not None:
        world.acted(f"{victim.name} ended with status {status}")
    await asyncio.sleep(world.downtime_s())
    world.start_all()


async def kill_client(world: World) -> None:
    line = world.dice.choice(world.command_lines)
    world.begin(f"kill -9 of the command line of {line.sender_name}", 0.0)
    if line.sender is not None and line.sender.returncode is None:
        line.sender.kill()
        if await line.sender.wait() == -signal.SIGKILL:
            world.acted("the program ended by SIGKILL")


# ---- processes stand still


async def stop_primary(world: World) -> None:
    pause_s = world.pause_s()
    world.begin(f"SIGSTOP of the primary {world.primary} for {pause_s} s", min(pause_s, SUSPECT_S) + SUSPECT_S)
    await world.frozen(world.primary, pause_s=pause_s)


async def stop_backup(world: World) -> None:
    victim, pause_s = world.backups()[0], world.pause_s()
    world.begin(f"SIGSTOP of the backup {victim} for {pause_s} s", min(pause_s, EVICT_S) + SUSPECT_S)
    await world.frozen(victim, pause_s=pause_s)


async def stop_two(world: World) -> None:
    victims, pause_s = world.dice.sample(list(world.cluster.servers), 2), world.pause_s()
    world.begin(f"SIGSTOP of {' and '.join(victims)} for {pause_s} s", pause_s + EVICT_S)
    await world.frozen(*victims, pause_s=pause_s)


async def stop_all(world: World) -> None:
    pause_s = world.pause_s()
    world.begin(f"SIGSTOP of all three for {pause_s} s", pause_s + EVICT_S)
    await world.frozen(*world.cluster.servers, pause_s=pause_s)


async def stutter(world: World) -> None:
    """A machine with too little CPU: a server runs a tenth of a second in three."""
    victim, times = world.anybody(), world.dice.randint(5, 15)
    world.begin(f"{victim} runs 0.1 s, stands still 0.2 s, {times} times", times * 0.3 + EVICT_S)
    for _ in range(times):
        await world.frozen(victim, pause_s=0.2)
        await asyncio.sleep(0.1)
    world.fault.evidence = f"{victim} was stopped {times} times"


async def stop_client(world: World) -> None:
    line, pause_s = world.dice.choice(world.command_lines), world.pause_s()
    processes = {"send": line.sender, "tail": line.recipient}
    which = world.dice.choice(list(processes))
    process = processes[which]
    world.begin(f"SIGSTOP of `chatsvc {which}` for {pause_s} s", 0.0)
    if process is not None and process.returncode is None:
        process.send_signal(signal.SIGSTOP)
        if await until(lambda: is_stopped(process.pid) or None, 1.0):
            world.acted("it was stopped")
        await asyncio.sleep(pause_s)
        process.send_signal(signal.SIGCONT)


# ---- the network


async def cut_primary(world: World) -> None:
    pause_s = world.pause_s()
    others = [*world.backups(), *world.dice.choice([[], [CLIENTS]])]
    whom = " and the clients" if CLIENTS in others else ""
    world.begin(
        f"the primary {world.primary} is cut from its backups{whom} for {pause_s} s", min(pause_s, SUSPECT_S) + 3
    )
    await world.cut(both_ways(world.primary, *others), pause_s)


async def cut_backup(world: World) -> None:
    victim, pause_s = world.backups()[0], world.pause_s()
    others = [name for name in world.cluster.servers if name != victim]
    world.begin(f"the backup {victim} is cut from the others for {pause_s} s", min(pause_s, EVICT_S) + SUSPECT_S)
    await world.cut(both_ways(victim, *others), pause_s)


async def cut_pair(world: World) -> None:
    one, other = world.dice.sample(list(world.cluster.servers), 2)
    pause_s = world.pause_s()
    world.begin(f"{one} and {other} are cut from each other for {pause_s} s", min(pause_s, EVICT_S) + SUSPECT_S)
    await world.cut(both_ways(one, other), pause_s)


async def cut_one_way(world: World) -> None:
    one, other = world.dice.sample(list(world.cluster.servers), 2)
    pause_s = world.pause_s()
    world.begin(f"nothing gets from {one} to {other} for {pause_s} s", min(pause_s, EVICT_S) + EVICT_S)
    await world.cut([(one, other)], pause_s)


async def cut_all(world: World) -> None:
    pause_s = world.pause_s()
    a, b, c = world.cluster.servers
    world.begin(f"every server is cut from every other one for {pause_s} s", pause_s + EVICT_S)
    await world.cut([*both_ways(a, b, c), *both_ways(b, c)], pause_s)


async def cut_clients(world: World) -> None:
    pause_s = world.pause_s()
    way = world.dice.choice([[(CLIENTS, world.primary)], [(world.primary, CLIENTS)], both_ways(CLIENTS, world.primary)])
    world.begin(f"nothing gets {' or '.join('from ' + ' to '.join(link) for link in way)} for {pause_s} s", pause_s + 3)
    await world.cut(way, pause_s)


async def flapping(world: World) -> None:
    one, other = world.dice.sample(list(world.cluster.servers), 2)
    times, longest_s = world.dice.randint(4, 10), world.dice.choice([0.2, 0.5, 1.5])
    world.begin(f"the link of {one} and {other} flaps {times} times", 2 * EVICT_S)
    for _ in range(times):
        await world.cut(both_ways(one, other), world.dice.uniform(0.05, longest_s))
        await asyncio.sleep(world.dice.uniform(0.05, longest_s))
    world.fault.evidence = f"nothing got through, {times} times"


async def half_open(world: World) -> None:
    """A server dies while it is cut off: nobody hears the end of its connections."""
    victim, pause_s = world.anybody(), world.pause_s(0.5)
    others = [name for name in world.cluster.servers if name != victim]
    world.begin(
        f"{victim} is cut off for {pause_s} s, and killed and restarted meanwhile", min(pause_s, EVICT_S) + EVICT_S
    )
    cutting = asyncio.ensure_future(world.cut(both_ways(victim, *others, CLIENTS), pause_s))
    await asyncio.sleep(0.1)
    world.kill(victim)
    await asyncio.sleep(pause_s / 2)
    world.start_all()
    await cutting


async def cut_and_kill(world: World) -> None:
    """Somebody is cut off, and one of the others is killed meanwhile; the killed one comes back before or after."""
    victim, other = world.dice.sample(list(world.cluster.servers), 2)
    pause_s = world.pause_s()
    others = [name for name in world.cluster.servers if name != victim]
    world.begin(
        f"{victim} is cut off for {pause_s} s, and {other} is killed meanwhile", pause_s + EVICT_S + 2 * START_S
    )
    cutting = asyncio.ensure_future(world.cut(both_ways(victim, *others), pause_s))
    await asyncio.sleep(world.dice.uniform(0, pause_s))
    world.kill(other)
    if world.dice.random() < 0.5:
        world.start_all()
    await cutting
    world.start_all()


async def slow_link(world: World) -> None:
    assert world.network is not None
    victim, pause_s, kilobits = world.anybody(), world.pause_s(1.0), world.dice.choice([100, 300, 1_000])
    world.begin(f"{victim} sends {kilobits} kbit/s at most for {pause_s} s", min(pause_s, EVICT_S) + EVICT_S)
    world.network.slow(victim, kilobits)
    world.acted("the queue discipline was taken")
    await asyncio.sleep(pause_s)
    world.network.slow(victim, 0)


# ---- disks


async def disk_full(world: World) -> None:
    """The disk of a server has no room for a while; by chance it is the primary's."""
    name = world.dice.choice(list(world.small_disks))
    server, disk = world.cluster[name], world.small_disks[name]
    pause_s = world.pause_s(1.5)
    role = "primary" if name == world.primary else "backup"
    world.begin(
        f"the disk of the {role} {name} is full until {pause_s} s after it has noticed", min(pause_s, EVICT_S) + EVICT_S
    )
    said = server.output.read_text().count("is full")
    space = os.statvfs(disk)
    while not resized(disk, (space.f_blocks - space.f_bfree) * space.f_frsize):
        space = os.statvfs(disk)  # it has grown meanwhile
    # A WAL that starts over needs no new room for a while.
    if await until(lambda: server.output.read_text().count("is full") > said or None, 30.0):
        world.acted(f"{name} said that its disk is full")
    await asyncio.sleep(pause_s)
    assert resized(disk, SMALL_DISK_BYTES)


def resized(disk: Path, size: int) -> bool:
    """Give a file system of memory another size, which must not be below what is in it."""
    return not subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], stderr=-3, check=False).returncode


async def broken_disk(world: World) -> None:
    """Syncs of a server fail: it must stop at once, and say why."""
    victim = world.cluster[world.anybody()]
    world.begin(f"every sync of {victim.name} fails", SUSPECT_S)
    tracer = await traced(victim, "fdatasync,fsync:error=EIO")
    status = await world.ended(victim, 10.0)
    await finished(tracer)
    if status == 1 and "disk I/O error" in victim.words():
        world.acted(f"{victim.name} ended with status {status} and said why")
    world.count("failed disks")
    if victim.is_running:
        victim.kill()
    victim.start()


async def slow_disk(world: World) -> None:
    victim, pause_s, delay_ms = world.cluster[world.anybody()], world.pause_s(1.0), world.dice.choice([50, 200, 1_000])
    world.begin(
        f"every sync of {victim.name} takes {delay_ms} ms longer for {pause_s} s", min(pause_s, LAG_S) + EVICT_S
    )
    tracer = await traced(victim, f"fdatasync,fsync:delay_enter={delay_ms * 1_000}")
    await asyncio.sleep(pause_s)
    if tracer.returncode is None:
        world.acted("strace held up every sync")
        tracer.terminate()
    await finished(tracer)


async def traced(server: ServerProcess, inject: str) -> asyncio.subprocess.Process:
    """strace that tampers with the syncs of a server."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(server.pid), "-e", "trace=fdatasync,fsync"]
    return await asyncio.create_subprocess_exec(*command, "-e", f"inject={inject}")


async def finished(process: asyncio.subprocess.Process) -> None:
    """Wait for a tracer's end."""
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def at_rest(world: World, what: str, change: Callable[[ServerProcess], Awaitable[str] | str]) -> None:
    """Kill a server, change what is on its disk, start it; where it finds the damage, do as it says: empty it."""
    victim = world.cluster[world.anybody()]
    world.begin(f"{what} of {victim.name} while it is down", SUSPECT_S)
    world.kill(victim.name)
    done = change(victim)
    world.fault.what += f": {done}"
    world.damaged = victim.name
    victim.start()
    await until(lambda: victim.exit_status, 3.0)  # how it goes on, `tend` sees


def flip(world: World, server: ServerProcess, tables: bool) -> str:
    """Change one bit of the tables, or of any other file."""
    files = [path for path in server.data_dir.iterdir() if path.is_file() and path.stat().st_size]
    wanted = [path for path in files if (path.name == "state.db") is tables]
    path = world.dice.choice([path for path in wanted if path.name != "lock" and not path.name.endswith("-shm")])
    content = bytearray(path.read_bytes())
    place, bit = world.dice.randrange(len(content)), world.dice.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {path.name} ({len(content)} bytes)"


async def bit_flip(world: World) -> None:
    await at_rest(world, "a bit flips in the directory", lambda server: flip(world, server, tables=False))


async def bit_flip_in_tables(world: World) -> None:
    """The stored tables have no checksums: what is flipped there may be shown."""
    await at_rest(world, "a bit flips in the tables", lambda server: flip(world, server, tables=True))


async def truncated(world: World) -> None:
    def truncate(server: ServerProcess) -> str:
        path = server.data_dir / "log.db"
        path = world.dice.choice([path, wal_path(path), server.data_dir / "state.db"])
        if not path.exists() or not path.stat().st_size:
            path = server.data_dir / "log.db"
        size = path.stat().st_size
        left = world.dice.randrange(size)
        with path.open("r+b") as file:
            file.truncate(left)
        return f"{path.name} has {left} of {size} bytes"

    await at_rest(world, "a file is cut short in the directory", truncate)


async def lost_directory(world: World) -> None:
    def lose(server: ServerProcess) -> str:
        shutil.rmtree(server.data_dir)
        return "it is gone"

    await at_rest(world, "the directory", lose)


async def swapped_directories(world: World) -> None:
    one, other = (world.cluster[name] for name in world.backups())
    world.begin(f"the directories of {one.name} and {other.name} are swapped while both are down", SUSPECT_S)
    world.kill(one.name, other.name)
    aside = one.data_dir.with_name("aside")
    shutil.copytree(one.data_dir, aside)
    for source, to in ((other.data_dir, one.data_dir), (aside, other.data_dir)):
        shutil.rmtree(to)
        shutil.copytree(source, to)
    shutil.rmtree(aside)
    one.start()
    other.start()
    world.acted("both were started on the other's directory")


async def other_clock(world: World) -> None:
    """A server restarts with a clock that is days off: it may compare clocks with nobody."""
    victim, days = world.cluster[world.anybody()], world.dice.choice([1, 30, 400])
    offset = str(days * 86_400)
    world.begin(f"{victim.name} restarts with clocks {days} days ahead", SUSPECT_S)
    world.kill(victim.name)
    prefix = ["unshare", "--time", "--monotonic", offset, "--boottime", offset, "--"]
    victim.start(prefix=prefix)
    world.acted(f"it runs with an offset of {offset} s")


FaultFunction = Callable[[World], Awaitable[None]]


class FaultClass(msgspec.Struct, frozen=True):
    """A class of faults.

    Attributes:
        act: does it, from the beginning to its end.
        needs: what this machine must permit: "namespaces", "strace", or nothing.
        short: whether it is in the short run.
        promised: whether nothing may go wrong by it; else it is drawn only where it is named.
    """

    act: FaultFunction
    needs: str = ""
    short: bool = True
    promised: bool = True


CLASSES: dict[str, FaultClass] = {
    "kill-primary": FaultClass(kill_primary),
    "kill-backup": FaultClass(kill_backup),
    "kill-two": FaultClass(kill_two),
    "kill-successor": FaultClass(kill_successor),
    "kill-all": FaultClass(kill_all),
    "crash-loop": FaultClass(crash_loop, short=False),
    "failpoint": FaultClass(failpoint),
    "term": FaultClass(terminate),
    "kill-client": FaultClass(kill_client, short=False),
    "stop-primary": FaultClass(stop_primary),
    "stop-backup": FaultClass(stop_backup),
    "stop-two": FaultClass(stop_two, short=False),
    "stop-all": FaultClass(stop_all, short=False),
    "stop-client": FaultClass(stop_client, short=False),
    "stutter": FaultClass(stutter, short=False),
    "cut-primary": FaultClass(cut_primary, "namespaces"),
    "cut-backup": FaultClass(cut_backup, "namespaces"),
    "cut-pair": FaultClass(cut_pair, "namespaces", short=False),
    "cut-one-way": FaultClass(cut_one_way, "namespaces"),
    "cut-all": FaultClass(cut_all, "namespaces", short=False),
    "cut-clients": FaultClass(cut_clients, "namespaces", short=False),
    "cut-and-kill": FaultClass(cut_and_kill, "namespaces", short=False),
    "flapping": FaultClass(flapping, "namespaces", short=False),
    "half-open": FaultClass(half_open, "namespaces", short=False),
    "slow-link": FaultClass(slow_link, "namespaces", short=False),
    "disk-full": FaultClass(disk_full, "namespaces"),
    "broken-disk": FaultClass(broken_disk, "strace"),
    "slow-disk": FaultClass(slow_disk, "strace", short=False),
    "bit-flip": FaultClass(bit_flip),
    "bit-flip-in-tables": FaultClass(bit_flip_in_tables, short=False, promised=False),
    "truncated": FaultClass(truncated, short=False),
    "lost-directory": FaultClass(lost_directory),
    "swapped-directories": FaultClass(swapped_directories, short=False),
    "clock": FaultClass(other_clock, "namespaces", short=False),
}
