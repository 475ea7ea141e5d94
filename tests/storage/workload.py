"""Random commands for the chat state, and a process that carries them out until it is killed.

Run as a program: `workload.py DIRECTORY SEED`. It prints the index of every entry that is safe in the log, and flushes
the state in another thread now and then.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import msgspec

from chatsvc.domain.commands import AdvanceCursors, Command, DeleteAccount, OpenSession, RetireClient, Sends
from chatsvc.domain.state import ChatState
from chatsvc.replication.entries import EntryKind, make_entry
from chatsvc.replication.events import AppendEntries, SaveCommit
from chatsvc.replication.identity import Epoch
from chatsvc.storage import DataDirectory, StateSnapshot

NAMES = ["alice", "Bob", "carol", "dörte", "EVE", "李"]
TEXTS = ["hello", "nul \0 inside", "\0", "😀" * 1_500, "\u2028\ufeff\uffff", "x" * 1_501, "", "quote ' \" \\ [1]"]

_decode = msgspec.msgpack.Decoder(tuple[int, list[Command]]).decode


def encode(time_us: int, commands: list[Command]) -> bytes:
    """Payload of an entry."""
    return msgspec.msgpack.encode((time_us, commands))


def decode(payload: bytes) -> tuple[int, list[Command]]:
    """What `encode` was given."""
    return _decode(payload)


def random_commands(rng: random.Random, state: ChatState) -> Iterator[Command]:
    """Commands that a few clients could give now; some of them are repetitions, some are refused."""
    for _ in range(rng.randint(1, 6)):
        number = rng.randrange(8)
        client_id = bytes([number]) * 16
        client = state.clients.get(client_id)
        name = NAMES[number % len(NAMES)]
        match rng.randrange(12):
            case 0 | 1:
                yield OpenSession(name, client_id, rng.random() < 0.7, True, 0, rng.choice([1, 1, 3]))
            case 2 if rng.random() < 0.3:
                yield RetireClient(client_id)
            case 3 if client is not None and rng.random() < 0.4:
                yield DeleteAccount(client_id, client.head + 1)
            case 4 | 5:
                yield AdvanceCursors([(account_id, rng.randrange(40)) for account_id in rng.sample(range(1, 20), 4)])
            case _:
                head = 0 if client is None else client.head
                first = max(1, head + rng.choice([1, 1, 1, 1, 0, -1, 2]))
                messages = [(rng.choice([*NAMES, "nobody"]), rng.choice(TEXTS)) for _ in range(rng.randint(1, 9))]
                yield Sends(client_id, first, max(0, head - rng.randrange(6)), rng.random() < 0.8, messages)


class Replica:
    """A chat state over a data directory: log first, then the state, then the tables.

    Attributes:
        state: at `applied_index`.
    """

    def __init__(self, directory: DataDirectory) -> None:
        self.directory = directory
        view = directory.log.load().view
        loaded = directory.state.load()
        store = directory.state
        self.state = ChatState(
            loaded.accounts, store.conversations, store.clients, loaded.next_account_id, loaded.digest
        )
        self.applied_index, self.time_us = loaded.applied_index, loaded.last_time_us
        self.chain = view.last_chain
        self.epoch = Epoch(1, 0, directory.dir_id)
        while self.applied_index < view.last.log_index:
            for entry in directory.log.read(self.applied_index + 1, view.last.log_index + 1, 5_000):
                self._apply(entry.index, *decode(entry.payload))

    def carry_out(self, commands: list[Command]) -> int:
        """Put commands into the log, then into the state. Returns the log index."""
        log_index, time_us = self.applied_index + 1, self.time_us + 1
        entry = make_entry(self.epoch, log_index, EntryKind.OP, encode(time_us, commands), self.chain)
        self.directory.log.carry_out([AppendEntries((entry,)), SaveCommit(self.applied_index)])
        self.chain = entry.chain
        self._apply(log_index, time_us, commands)
        return log_index

    def _apply(self, log_index: int, time_us: int, commands: list[Command]) -> None:
        self.state.apply(commands, time_us)
        self.applied_index, self.time_us = log_index, time_us

    def begin_flush(self) -> StateSnapshot:
        """What the tables lack."""
        state = self.state
        return self.directory.state.begin_flush(
            state.take_changes(), self.applied_index, state.digest, state.next_account_id, self.time_us
        )

    def flush(self) -> None:
        """Bring the tables up to the state."""
        snapshot = self.begin_flush()
        self.directory.state.flush(snapshot)
        self.directory.state.finish_flush(snapshot)


def replayed(directory: DataDirectory) -> ChatState:
    """The state that the whole log makes, without any tables."""
    state = ChatState()
    for entry in directory.log.read(1, 1 << 40, 1 << 40):
        time_us, commands = decode(entry.payload)
        state.apply(commands, time_us)
    return state


def main() -> None:
    """Carry out commands until killed."""
    path, seed = Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    replica = Replica(DataDirectory.open(path))
    flushing: tuple[Thread, StateSnapshot] | None = None
    while True:
        log_index = replica.carry_out(list(random_commands(rng, replica.state)))
        print(log_index, flush=True)
        if flushing is not None and not flushing[0].is_alive():
            replica.directory.state.finish_flush(flushing[1])
            flushing = None
        if flushing is None and rng.random() < 0.3:
            snapshot = replica.begin_flush()
            thread = Thread(target=replica.directory.state.flush, args=(snapshot,), daemon=True)
            thread.start()
            flushing = thread, snapshot


if __name__ == "__main__":
    main()
