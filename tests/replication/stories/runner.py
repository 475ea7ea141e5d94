"""Runs a story on the simulated cluster. Commands, one a line:

    cluster a b c [KEY=VALUE ...]   a founds a cluster, the others join; it ends when everybody is in sync
                                    keys: seed (of all chance), founders (so many are in sync, the others
                                    not started), heartbeat and latency (ms), append (entries in one Append), window
                                    (entries under way to one backup),
                                    isolated=on
    kill a [b ...]    the processes die, at once       start a [b ...]   new processes on the same directories
    pause a [b ...]   the processes stand still        resume a [b ...]  they go on
    reset a [b ...]   what has reached their kernels and was not read is lost
    wipe a            the directory of the dead server a becomes empty
    cut a b           nothing passes between a and b   cut a>b           nothing passes from a to b
    isolate a         a is cut from all other servers  heal              all cuts end
    mend a b          the cut between a and b ends     mend a>b          that of one direction
    mend-disk a       its disk is well again
    hang-disk a 3s    writes of a end only then        machine-off a     a dies with its machine: it does not refuse
    machine-on a      the machine is back, and refuses until a is started
    fail-sync a       the next sync of a's disk fails
    fill-disk a 3s    a's disk is full for so long   lose a 3            dead a's disk loses its last 3 entries
    promised a 9      dead a's disk says that a once stood for epoch 9, in vain
    copy a d          dead d gets a copy of a's directory          advertise d z   d will tell a wrong address, z
    move b d          dead b's directory is carried to dead d's machine
    foreign d x y     dead d's directory is that of a member of another cluster; its other members x, y are off
    flip a 9          a bit of entry 9 flips in a's memory
    half-close a b    the connection that b has dialled to a ends; b's end is not told
    strangers a 300   so many directories of no cluster, each for the first time, ask a who is there
    force a           the operator makes a primary, whatever it may lack
    give-up a [b ...] what only the dead a has is not asked for any more: an operator has given it up
    stop a            the process leaves, then ends   remove a            the operator sends member a away
    send 3            a client issues three operations load on|off       clients issue operations all the time
    run 2s            let time pass
    until CONDITION [within 10s]    let time pass until then; says how long it took
        a serves · a is ROLE · a suspects · in-sync a b (all of them would survive now) · answered (the client's
        operations) · a holds CONFIG a b (newest in its log, in memory) · a stored CONFIG a b (on its disk) ·
        a stored entry 7
    status            who is what, how far the logs go, who is in sync
    quietly           events are not printed from here on        aloud       they are

While time passes, each event worth a line is printed with the seconds since the story began.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import msgspec

from chatsvc.replication import ALL, Identity, Rules
from chatsvc.replication.configs import Config, ConfigContent, Mode, encode_config
from chatsvc.replication.entries import EntryKind, make_entry
from chatsvc.replication.envelopes import Envelope, Survey
from chatsvc.replication.events import AppendEntries, ForcePromote, Save
from chatsvc.replication.founding import found
from chatsvc.replication.identity import NO_CLUSTER, Epoch, Member
from tests.simulation.agenda import MS, SECOND
from tests.simulation.checkers import Judge, Violation
from tests.simulation.cluster import Cluster
from tests.simulation.parameters import Parameters
from tests.simulation.server import Server

FOLDER = Path(__file__).parent
HIDDEN = ("surveys",)  # events too frequent to be told
LIST = re.compile(r"[\[(]([a-h](?:, [a-h])*),?[\])]")


def stories() -> list[Path]:
    return sorted(FOLDER.glob("*.txt"))


def rewritten(text: str, rules: Rules = ALL) -> str:
    """The story with the output that it prints now. Blocks are separated by empty lines."""
    story = Story(rules)
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        told = lines[: lines.index("----")] if "----" in lines else lines
        commands = [line for line in told if line and not line.startswith("#")]
        for command in commands:
            story.command(command)
        blocks.append("\n".join([*told, "----", *story.printed()] if commands else told))
    return "\n\n".join(blocks) + "\n"


class Story:
    def __init__(self, rules: Rules):
        self.rules = rules
        self.cluster: Cluster | None = None
        self.out: list[str] = []
        self.told = 0
        self.began = 0
        self.aloud = True
        self.over = False  # a guarantee broke: nothing more happens
        self.given_up: set[str] = set()  # servers whose committed entries an operator has given up

    def printed(self) -> list[str]:
        out, self.out = self.out, []
        return out

    def command(self, line: str) -> None:
        if self.over:
            return
        name, *words = line.split()
        try:
            getattr(self, "do_" + name.replace("-", "_"))(*words)
        except Violation as violation:
            self._tell()
            self.out.append(f"VIOLATION {violation}")
            self.over = True
        except AssertionError as broken:
            self._tell()
            self.out.append(f"ASSERTION {broken}")
            self.over = True

    # ---- parts

    @property
    def c(self) -> Cluster:
        assert self.cluster is not None, "a story begins with `cluster`"
        return self.cluster

    def server(self, name: str) -> Server:
        return next(server for server in self.c.servers if server.address == name)

    def name(self, dir_id: bytes) -> str:
        return self.c.directories[dir_id].owner

    def names(self, dir_ids: tuple[bytes, ...]) -> str:
        return " ".join(sorted(self.name(dir_id) for dir_id in dir_ids)) or "nobody"

    def _tell(self) -> None:
        """Print what has happened since the last time."""
        assert self.c.lines is not None
        new, self.told = self.c.lines[self.told :], len(self.c.lines)
        if not self.aloud:
            return
        for when, who, what in new:
            if who in self.c.addresses and not what.startswith(HIDDEN) and who != "judge":
                text = LIST.sub(lambda found: " ".join(sorted(found.group(1).split(", "))), what)
                self.out.append(f"{when - self.began / SECOND:8.3f}  {who} {text}")

    # ---- commands

    def do_cluster(self, *words: str) -> None:
        names = [word for word in words if "=" not in word]
        keys = dict(word.split("=") for word in words if "=" in word)
        latency = int(float(keys.get("latency", 1)) * MS)
        parameters = Parameters(
            servers=len(names),
            founders=len(names) if "founders" not in keys else int(keys["founders"]),
            latency_min=latency,
            latency_max=latency,
            write_min=MS,
            write_max=MS,
            clients=1,
            accounts=1,
            think=20 * MS,
            give_up=500 * MS,
            heartbeat_ms=int(keys.get("heartbeat", 50)),
            isolated="isolated" in keys,
            append_entries=int(keys.get("append", 512)),
            window_entries=int(keys.get("window", 2_048)),
        )
        self.cluster = Cluster(f"story/{keys.get('seed', 0)}", parameters, self.rules, trace=True)
        assert self.c.addresses == names, "servers are called a, b, c, …"
        for client in self.c.clients:
            client.quiet = True
        self.c.boot()
        self.told = len(self.c.lines or ())
        self.began = self.c.agenda.now

    def do_kill(self, *names: str) -> None:
        for name in names:
            self.c.crash(self.server(name))

    def do_start(self, *names: str) -> None:
        for name in names:
            judge = self.c.judge
            if name in self.given_up:  # it will read back what the others have no more
                self.c.judge = Judge(Counter())
            self.c.restart(self.server(name))
            self.c.judge = judge

    def do_pause(self, *names: str) -> None:
        for name in names:
            process = self.server(name).process
            assert process is not None
            self.c.note(name, "paused")
            process.pause(10_000 * SECOND)

    def do_resume(self, *names: str) -> None:
        for name in names:
            process = self.server(name).process
            assert process is not None
            self.c.note(name, "resumed")
            process.resume()

    def do_wipe(self, name: str) -> None:
        if not self.c.wipe(self.server(name)):
            self.out.append(f"{name} is not wiped: its directory may be needed")
        self.given_up.discard(name)

    def do_cut(self, *words: str) -> None:
        for source, target in [word.split(">") for word in words if ">" in word]:
            self.c.network.cut(source, target, 10**12)
        plain = [word for word in words if ">" not in word]
        for source in plain:
            for target in plain:
                if source != target:
                    self.c.network.cut(source, target, 10**12)

    def do_isolate(self, *names: str) -> None:
        for name in names:
            for other in self.c.addresses:
                if other != name:
                    self.c.network.cut(name, other, 10**12)
                    self.c.network.cut(other, name, 10**12)

    def do_mend(self, *words: str) -> None:
        plain = [word for word in words if ">" not in word]
        ways = [word.split(">") for word in words if ">" in word]
        for source, target in [*ways, *((a, b) for a in plain for b in plain)]:
            self.c.network.cuts.pop((source, target), None)

    def do_heal(self) -> None:
        self.c.network.cuts.clear()

    def do_hang_disk(self, name: str, lasts: str) -> None:
        self.c.hang_disk(self.server(name), span(lasts))

    def do_mend_disk(self, name: str) -> None:
        self.server(name).disk.relieve()

    def do_machine_off(self, name: str) -> None:
        self.c.machine_off(self.server(name), 10_000 * SECOND)

    def do_fill_disk(self, name: str, lasts: str) -> None:
        self.c.fill_disk(self.server(name), span(lasts))

    def do_fail_sync(self, name: str) -> None:
        self.c.fail_sync(self.server(name))

    def do_lose(self, name: str, count: str) -> None:
        server = self.server(name)
        assert server.process is None
        server.directory.lose(int(count))

    def do_promised(self, name: str, counter: str) -> None:
        server = self.server(name)
        assert server.process is None
        server.directory.promised = Epoch(int(counter), 0, server.directory.dir_id)

    def do_copy(self, source: str, target: str) -> None:
        self.server(target).copy_directory(self.server(source))

    def do_advertise(self, name: str, address: str) -> None:
        self.server(name).advertised = address

    def do_stop(self, *names: str) -> None:
        for name in names:
            self.c.leave(self.server(name))

    def do_remove(self, name: str) -> None:
        self.c.remove(self.server(name))

    def do_reset(self, *names: str) -> None:
        for name in names:
            process = self.server(name).process
            assert process is not None
            process.inbox.clear()
            for link in process.links():
                link.lost = True

    def do_machine_on(self, name: str) -> None:
        self.c.machine_on(self.server(name))

    def do_move(self, source: str, target: str) -> None:
        self.do_copy(source, target)
        moved = self.server(target).directory
        self.c.directories[moved.dir_id] = moved
        self.server(source).new_directory()

    def do_foreign(self, name: str, *others: str) -> None:
        cluster, server = self.c, self.server(name)
        assert server.process is None
        directory = server.directory
        draw = cluster.randoms["replica"].randrange
        founder = Identity(NO_CLUSTER, directory.dir_id, 1, name, name)
        state, view, save = found(founder, draw)
        directories = [directory, *(cluster.new_directory(other) for other in others)]
        members = tuple(sorted(Member(each.dir_id, each.owner, each.owner) for each in directories))
        content = ConfigContent(tuple(member.dir_id for member in members), members, Mode.AVAILABLE, "grow")
        entry = make_entry(state.promised, 2, EntryKind.CONFIG, encode_config(content), view.last_chain)
        directory.carry_out(save)
        directory.carry_out(Save(1, (AppendEntries((entry,)),)))
        cluster.network.machines_down.update(others)

    def do_strangers(self, name: str, count: str) -> None:
        process = self.server(name).process
        assert process is not None
        for number in range(int(count)):
            dir_id = self.c.randoms["replica"].getrandbits(128).to_bytes(16, "big")
            stranger = Identity(NO_CLUSTER, dir_id, 1, "z", "z")
            process.arrive("envelope", Envelope(stranger, name, None, 0, Survey(number, None)), None)

    def do_flip(self, name: str, index: str) -> None:
        process = self.server(name).process
        assert process is not None
        log = process.replica.log
        at = int(index) - log.first_in_memory
        entry = log.tail[at]
        log.tail[at] = msgspec.structs.replace(entry, payload=bytes([entry.payload[0] ^ 1]) + entry.payload[1:])
        self.c.note(name, "a bit of entry", index, "flips in its memory")

    def do_half_close(self, name: str, follower: str) -> None:
        process = self.server(follower).process
        assert process is not None
        (link,) = [link for link in process.dialled.values() if link.processes[1].address == name]
        self.c.network._end_breaks(link, 1)

    def do_give_up(self, *names: str) -> None:
        judge = self.c.judge
        kept = max(len(server.process.log) for server in self.c.servers if server.process is not None)
        del judge.committed[kept + 1 :], judge.effects[kept + 1 :]
        self.given_up.update(names)

    def do_force(self, name: str) -> None:
        process = self.server(name).process
        assert process is not None
        self.c.note(name, "is told to serve, whatever it may lack")
        process.arrive("event", ForcePromote(1), None)

    def do_send(self, count: str) -> None:
        self.c.clients[0].ask(int(count))

    def do_load(self, word: str) -> None:
        self.c.clients[0].quiet = word == "off"

    def do_run(self, lasts: str) -> None:
        self.c.agenda.run(self.c.agenda.now + span(lasts))
        self._tell()

    def do_quietly(self) -> None:
        self.aloud = False

    def do_aloud(self) -> None:
        self._tell()
        self.aloud = True

    def do_until(self, *words: str) -> None:
        within = 10 * SECOND
        if "within" in words:
            at = words.index("within")
            within, words = span(words[at + 1]), words[:at]
        began = self.c.agenda.now
        came = self.c.agenda.run(began + within, lambda: self._holds(words))
        self._tell()
        what = " ".join(words)
        took = (self.c.agenda.now - began) / SECOND
        self.out.append(f"{what}: after {took:.3f} s" if came else f"{what}: not within {took:g} s")

    def _holds(self, words: tuple[str, ...]) -> bool:
        if words == ("answered",):
            return all(client.acked == client.issued for client in self.c.clients)
        if words[0] == "in-sync":
            return self.c.complete([self.server(name) for name in words[1:]])
        server = self.server(words[0])
        if words[1:] == ("serves",):
            return server in self.c.primaries()
        if words[1] == "is":
            return server.role() == " ".join(words[2:])
        if words[1:] == ("suspects",):
            return server.process is not None and server.process.replica.status().primary is None
        assert words[1] in ("holds", "stored"), words
        if words[1:3] == ("stored", "entry"):
            return len(server.directory.entries) >= int(words[3])
        config: Config | None = None
        if words[1] == "holds" and server.process is not None:
            config = server.process.replica.log.newest_config
        elif words[1] == "stored":
            configs = server.directory.configs()
            config = configs[-1] if configs else None
        return config is not None and self.names(config.in_sync) == " ".join(words[3:])

    def do_status(self) -> None:
        for server in self.c.servers:
            if server.process is None:
                self.out.append(f"{server.address} down")
                continue
            status = server.process.replica.status()
            config = status.config
            line = (
                f"{server.address} {'paused ' if server.process.paused else ''}{status.role.value:8} "
                f"epoch={status.epoch.counter} last={status.last_index} commit={status.commit_index} "
                f"in_sync={self.names(config.in_sync) if config else 'unknown'}"
            )
            if status.waiting_for:
                line += f" waiting for {' '.join(status.waiting_for)}"
            if status.problem:
                line += f" problem: {status.problem}"
            self.out.append(line)
        client = self.c.clients[0]
        self.out.append(f"client: {client.acked} of {client.issued} answered")


def span(text: str) -> int:
    """Microseconds of "2s" or "300ms"."""
    if text.endswith("ms"):
        return int(float(text[:-2]) * MS)
    assert text.endswith("s"), text
    return int(float(text[:-1]) * SECOND)
