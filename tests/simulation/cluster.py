"""A whole cluster in one process, from one seed: servers, network, clients and the judge.

The same seed, parameters and rules repeat a run exactly: every source of chance is drawn from the seed, each
part of the simulation has its own, and nothing depends on the order of a set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from chatsvc.replication import ALL, Identity, Role, Rules, Settings, Timers
from chatsvc.replication.configs import Config, decode_config
from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.events import EpochSeen, Leave, Remove
from chatsvc.replication.founding import found
from chatsvc.replication.identity import Epoch
from tests.simulation.agenda import MS, SECOND, Agenda
from tests.simulation.checkers import Judge
from tests.simulation.directory import Directory
from tests.simulation.network import Network
from tests.simulation.parameters import Parameters
from tests.simulation.server import Process, Server
from tests.simulation.workload import Client

PARTS = ("network", "disk", "clocks", "replica", "faults", "clients")


class Cluster:
    """Not started yet: see `boot`."""

    def __init__(self, seed: int | str, parameters: Parameters, rules: Rules = ALL, trace: bool = False):
        self.parameters, self.rules = parameters, rules
        self.randoms = {part: Random(f"{seed}/{part}") for part in PARTS}
        self.agenda = Agenda()
        self.stats: Counter[str] = Counter()
        self.lines: list[tuple[float, str, str]] | None = [] if trace else None
        self.judge = Judge(self.stats)
        self.judge.note = lambda *what: self.note("judge", *what)
        self.network = Network(self.agenda, self.randoms["network"], parameters, self.stats)
        self.random = self.randoms["clients"]
        self.timers = Timers(heartbeat=parameters.heartbeat_ms)
        self.idle_max = self.timers.stall * MS // 3
        self.steps = 0
        self._when_stepped: list[tuple[int, Callable[[], None]]] = []
        self.interesting: Callable[[Server, str], None] | None = None
        self.directories: dict[bytes, Directory] = {}
        self.servers = [Server(self, slot) for slot in range(parameters.servers)]
        self.addresses = [server.address for server in self.servers]
        self.clients = [Client(number, self, number % parameters.accounts) for number in range(parameters.clients)]
        self.last_commit = 0  # when somebody last committed something new
        self.worst_gap = 0
        self.newest_committed: Config | None = None

    # ---- trace and counting

    def note(self, who: str, *what: Any) -> None:
        if self.lines is not None:
            text = " ".join(map(str, what))
            for dir_id, directory in self.directories.items():
                text = text.replace(repr(dir_id), directory.owner).replace(dir_id.hex(), directory.owner)
            self.lines.append((self.agenda.now / SECOND, who, text))

    def stepped(self) -> None:
        self.steps += 1
        if self._when_stepped and self.steps >= self._when_stepped[0][0]:
            _, act = self._when_stepped.pop(0)
            self.agenda.after(0, act)

    def after_steps(self, steps: int, act: Callable[[], None]) -> None:
        """Do it after that many steps of the core, of whichever server; at once if none."""
        if steps <= 0:
            act()
        else:
            self._when_stepped.append((self.steps + steps, act))
            self._when_stepped.sort(key=lambda pair: pair[0])

    # ---- servers

    def new_directory(self, owner: str) -> Directory:
        dir_id = self.randoms["replica"].getrandbits(128).to_bytes(16, "big")
        directory = self.directories[dir_id] = Directory(dir_id, owner, self.judge, self.stats)
        return directory

    def settings(self, address: str) -> Settings:
        return Settings(
            timers=self.timers,
            join=tuple(each for each in self.addresses if each != address),
            isolated_promotion=10_000 if self.parameters.isolated else None,
            append_entries_max=self.parameters.append_entries,
            window_entries=max(self.parameters.window_entries, self.parameters.append_entries),
            tail_entries_max=self.parameters.tail_entries,
        )

    def found(self, directory: Directory, boot: int) -> None:
        """Make the directory a cluster of one."""
        random = self.randoms["replica"]
        cluster_id = random.getrandbits(128).to_bytes(16, "big")
        founder = Identity(cluster_id, directory.dir_id, boot, directory.owner, directory.owner)
        directory.carry_out(found(founder, random.randrange)[2])

    def boot(self) -> None:
        """The first server founds a cluster, the others join; returns when all founders are in sync."""
        founders = self.servers[: self.parameters.founders]
        founders[0].process = Process(founders[0], founder=True)
        for client in self.clients:
            client.start()
        for server in founders[1:]:
            self.agenda.after(self.random.randrange(100 * MS), self.restart, server)
        if not self.agenda.run(self.agenda.now + 60 * SECOND, lambda: self.complete(founders)):
            self.judge.violation("no start", *(f"{each.address}:{each.role()}" for each in founders))

    def complete(self, core: list[Server]) -> bool:
        """Does one primary serve, and would every one of these servers survive it now?"""
        primaries = self.primaries()
        if len(primaries) != 1:
            return False
        reign = primaries[0].process.replica.reign
        if len(reign.lease_holders) != len(core) - 1:  # the usual case, told without a status
            return False
        status = primaries[0].process.replica.status()
        if set(status.in_sync) != {server.directory.dir_id for server in core}:
            return False
        return all(self._leased(server) for server in core if server is not primaries[0])

    @staticmethod
    def _leased(server: Server) -> bool:
        process = server.process
        return process is not None and process.replica.lease.until > server.now_ms()

    def primaries(self) -> list[Server]:
        """Those that serve, or believe it."""
        return [
            server
            for server in self.servers
            if server.process is not None
            and server.process.replica.reign is not None
            and server.process.replica.reign.serving
        ]

    def later_configs(self) -> list[Config]:
        """The newest committed CONFIG and every later one in any log, on disk or in memory."""
        newest = self.newest_committed
        found = [newest] if newest is not None else []
        for server in self.servers:
            log = server.process.log if server.process is not None else server.directory.entries
            for entry in log:
                if entry.kind == EntryKind.CONFIG:
                    config = decode_config(entry)
                    if newest is None or config.position > newest.position:
                        found.append(config)
        return found

    def needed(self) -> set[bytes]:
        """Members of the newest committed CONFIG and of every later one: not to be wiped."""
        return {dir_id for config in self.later_configs() for dir_id in config.in_sync}

    def is_removed(self, server: Server) -> bool:
        """Was the server's directory sent away for good?"""
        newest, dir_id = self.newest_committed, server.directory.dir_id
        return newest is not None and dir_id in newest.removed and dir_id not in self.needed()

    # ---- what processes report

    def config_committed(self, entry: Entry) -> None:
        config = decode_config(entry)
        if self.newest_committed is None or config.position > self.newest_committed.position:
            self.newest_committed = config

    def promoted(self, process: Process) -> None:
        self.stats["promotions"] += 1
        reign = process.replica.reign
        if reign is not None:
            self.judge.promoted(process.address, process.identity.boot, reign.epoch, process.log)

    def committed(self, process: Process, entries: list[Entry]) -> None:
        """A primary releases entries: nobody may have committed in a higher epoch."""
        judge = self.judge
        judge.commits(process.address, process.replica.reign.epoch)
        now = self.agenda.now
        if entries[-1].index >= len(judge.committed):
            gap, self.last_commit = now - self.last_commit, now
            self.worst_gap = max(self.worst_gap, gap)

    def commit_advanced(self, process: Process) -> None:
        """A primary has committed, perhaps long before it releases: it may have to hear from the others first."""
        index = process.replica.commit_index
        if index >= len(self.judge.committed):
            self._on_every_disk(process, process.log[index - 1])
            self._leases_hold(process)

    @staticmethod
    def _configs_of_turn(process: Process) -> list[Config]:
        """Every CONFIG that was the newest in the log at some step of the present turn."""
        seen = process.seen_config
        later = [config for config in process.replica.log.configs if seen is None or config.position > seen.position]
        return [*later[::-1], *([seen] if seen is not None else [])]

    def _on_every_disk(self, process: Process, entry: Entry) -> None:
        """I12: what is committed is on the disk of everybody in sync in the newest CONFIG of the primary's
        log.

        A CONFIG that was appended in this very turn may have come after the commit: then one before counts.
        """
        lacking: list[str] = []
        for config in self._configs_of_turn(process):
            lacking = [
                self.directories[dir_id].owner
                for dir_id in config.in_sync
                if not self._holds(self.directories[dir_id], entry)
            ]
            if not lacking:
                return
        self.judge.violation("committed without a server in sync (I12)", process.address, lacking, entry.index)

    @staticmethod
    def _holds(directory: Directory, entry: Entry) -> bool:
        held = directory.entries
        return len(held) >= entry.index and held[entry.index - 1].chain == entry.chain

    def _leases_hold(self, process: Process) -> None:
        """I15: nobody commits without a server whose lease runs."""
        in_sync = {dir_id for config in self._configs_of_turn(process) for dir_id in config.in_sync}
        for server in self.servers:
            other = server.process
            if (
                other is not None
                and other is not process
                and server.directory.dir_id not in in_sync
                and other.replica.lease.until > server.now_ms()
            ):
                self.judge.violation(
                    "committed without a holder of a running lease (I15)", process.address, server.address
                )

    # ---- clients

    def to_server(self, client: Client, address: str, kind: str, content: Any) -> None:
        delay = self.network._delay()
        self.agenda.after(delay, self._reaches_server, client, client.token, address, kind, content)

    def _reaches_server(self, client: Client, token: int, address: str, kind: str, content: Any) -> None:
        if self.network.is_cut(client.address, address):
            return
        process = self.network.processes.get(address)
        if process is None:
            self.agenda.after(self.network._delay(), client.frame, address, token, "refused", None)
        elif not (process.paused and process.waiting >= self.parameters.buffer):
            process.arrive("frame", client, (token, kind, content))

    def to_client(self, process: Process, client: Client, token: int, kind: str, content: Any) -> None:
        if kind in ("opened", "results") and process.replica.role is not Role.PRIMARY:
            self.judge.violation("a server that is not primary answers (I14)", process.address, kind)
        if not self.network.is_cut(process.address, client.address):
            self.agenda.after(self.network._delay(), client.frame, process.address, token, kind, content)

    # ---- faults

    def crash(self, server: Server) -> None:
        if server.process is not None:
            self.stats["kills"] += 1
            self.note(server.address, "killed")
            server.process.kill()

    def restart(self, server: Server) -> None:
        if server.process is None and server.address not in self.network.machines_down:
            self.stats["starts"] += 1
            self.note(server.address, "started")
            server.process = Process(server)

    def pause(self, server: Server, lasts: int) -> None:
        if server.process is not None and not server.process.paused:
            self.stats["pauses"] += 1
            self.note(server.address, "paused for", lasts // MS, "ms")
            server.process.pause(lasts)

    def hang_disk(self, server: Server, lasts: int) -> None:
        self.stats["disk hangs"] += 1
        self.note(server.address, "disk hangs for", lasts // MS, "ms")
        server.disk.hangs_until = self.agenda.now + lasts

    def fill_disk(self, server: Server, lasts: int) -> None:
        self.stats["full disks"] += 1
        self.note(server.address, "disk full for", lasts // MS, "ms")
        server.disk.full_until = self.agenda.now + lasts

    def fail_sync(self, server: Server) -> None:
        self.note(server.address, "next sync fails")
        server.disk.fails_next = True

    def leave(self, server: Server) -> None:
        """The operator stops the process: it gives up its roles, then ends."""
        if server.process is not None:
            self.stats["stops"] += 1
            self.note(server.address, "is told to stop")
            server.process.arrive("event", Leave(), None)
            self.agenda.after(20 * MS, server.process.exit)

    def forge_epoch(self, server: Server, ahead: int) -> None:
        """A client claims to have seen a higher epoch."""
        if server.process is not None:
            self.stats["forged epochs"] += 1
            server.process.arrive("event", EpochSeen(server.process.replica.promised.counter + ahead), None)

    def remove(self, server: Server) -> None:
        """The operator removes a member from the cluster; it keeps running and is told so."""
        primaries = self.primaries()
        if primaries and server not in primaries:
            process = primaries[0].process
            assert process is not None
            self.stats["members removed"] += 1
            self.note(primaries[0].address, "is told to remove", server.address)
            process.arrive("event", Remove(server.directory.dir_id), None)

    def stood_in_vain(self, server: Server, ahead: int) -> None:
        """A dead server has stood for a higher epoch once, and died before anybody heard: only its disk knows."""
        highest = max(each.directory.promised.counter for each in self.servers)
        self.stats["stood in vain"] += 1
        self.note(server.address, "has stood for epoch", highest + ahead, "in vain")
        server.directory.promised = Epoch(highest + ahead, 0, server.directory.dir_id)

    def machine_off(self, server: Server, lasts: int) -> None:
        """The process dies with its machine: nobody refuses there until it is back."""
        if server.process is not None:
            for link in server.process.links():
                link.lost = True
        self.crash(server)
        self.stats["machines off"] += 1
        self.note(server.address, "machine off for", lasts // MS, "ms")
        self.network.machines_down.add(server.address)
        self.agenda.after(lasts, self.machine_on, server)

    def machine_on(self, server: Server) -> None:
        if server.address in self.network.machines_down:
            self.network.machines_down.discard(server.address)
            server.base = self.randoms["clocks"].randrange(10**6) * MS - self.agenda.now * server.rate // 1_000_000

    def wipe(self, server: Server) -> bool:
        """Empty the directory of a dead server; not if somebody may need it."""
        if server.process is not None or server.directory.dir_id in self.needed():
            return False
        self.stats["wipes"] += 1
        self.note(server.address, "wiped")
        server.new_directory()
        return True

    def heal(self) -> None:
        """End all faults of network, disks and machines, and resume whoever is paused."""
        self.note("network", "healed")
        self.network.heal()
        self.parameters.slow_writes = 0.0
        for server in self.servers:
            self.machine_on(server)
            server.disk.relieve()
            if server.process is not None:
                server.process.resume()
