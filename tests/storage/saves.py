"""Random saves of a replica, what must be on the disk after them, and a process that makes them until it is killed.

Run as a program: `saves.py DIRECTORY SEED`. It prints how often a process was started on the directory, then the number
of every save that is safe. The number is on the disk, too: it is the cluster id.
"""

import random
import sys
from pathlib import Path

from chatsvc.replication.configs import ConfigContent, Mode, encode_config
from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind, make_entry
from chatsvc.replication.events import (
    AppendEntries,
    ConfigFile,
    HardState,
    Operation,
    SaveCluster,
    SaveCommit,
    SaveConfigFile,
    SavePromise,
    TruncateTo,
)
from chatsvc.replication.identity import NO_CLUSTER, NO_EPOCH, ClusterId, Epoch, Member
from chatsvc.replication.log import view_of
from chatsvc.storage import DataDirectory, StoredLog, log

SERVERS = [bytes([number]) * 16 for number in (1, 2, 3)]


class Saves:
    """A sequence of saves, which depends on nothing but the seed, and what is on the disk after each.

    Attributes:
        number: of the last one that was applied.
        entries: the whole log.
        orphans: by epoch and index.
        config_file: as it is once the last save is finished.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.number = seed, 0
        self.entries: list[Entry] = []
        self.orphans: dict[tuple[Epoch, int], Entry] = {}
        self.promised, self.commit_index, self.cluster_id = NO_EPOCH, 0, NO_CLUSTER
        self.config_file: ConfigFile | None = None

    def next(self) -> list[Operation]:
        """The operations of the next save: some in the way of a replica, some in any order."""
        number = self.number + 1
        rng = random.Random(f"{self.seed} {number}")
        entries, commit_index = list(self.entries), self.commit_index
        operations: list[Operation] = []
        for place in range(rng.randint(1, 5)):
            epoch = Epoch(number, place, rng.choice(SERVERS))
            match rng.randrange(8):
                case 0 | 1:
                    del entries[rng.randint(commit_index, len(entries)) :]
                    operations.append(TruncateTo(len(entries)))
                case 2:
                    operations.append(SavePromise(epoch))
                case 3:
                    commit_index = rng.randint(commit_index, len(entries))
                    operations.append(SaveCommit(commit_index))
                case 4:
                    configs = [entry for entry in entries[:commit_index] if entry.kind == EntryKind.CONFIG]
                    if configs:
                        operations.append(SaveConfigFile(configs[-1].position, commit_index))
                case _:
                    added = random_entries(rng, epoch, entries)
                    entries += added
                    operations.append(AppendEntries(tuple(added)))
        operations.insert(rng.randint(0, len(operations)), SaveCluster(number.to_bytes(16, "big")))
        return operations

    def apply(self, operations: list[Operation]) -> None:
        """They are on the disk."""
        self.number += 1
        for operation in operations:
            match operation:
                case AppendEntries():
                    self.entries += operation.entries
                case TruncateTo():
                    for entry in self.entries[operation.last_index :]:
                        self.orphans[entry.epoch, entry.index] = entry
                    del self.entries[operation.last_index :]
                case SavePromise():
                    self.promised = operation.epoch
                case SaveCommit():
                    self.commit_index = operation.commit_index
                case SaveCluster():
                    self.cluster_id = operation.cluster_id
                case SaveConfigFile():
                    self.config_file = ConfigFile(operation.config, operation.commit_index)

    def stored(self) -> StoredLog:
        """What `load` must give now."""
        hard_state = HardState(self.promised, self.commit_index, self.config_file)
        return StoredLog(self.cluster_id, hard_state, view_of(self.entries))


def random_entries(rng: random.Random, epoch: Epoch, before: list[Entry]) -> list[Entry]:
    """A few entries of an epoch, one of them perhaps a CONFIG."""
    entries: list[Entry] = []
    index, chain = (before[-1].index, before[-1].chain) if before else (0, NO_CHAIN)
    for _ in range(rng.choice([1, 2, 30])):
        index += 1
        if rng.random() < 0.2:
            who = sorted(rng.sample(SERVERS, rng.randint(1, 3)))
            members = tuple(Member(dir_id, "host:1", "name") for dir_id in who)
            content = ConfigContent(tuple(who), members, Mode.AVAILABLE, f"number {index}")
            entry = make_entry(epoch, index, EntryKind.CONFIG, encode_config(content), chain)
        else:
            entry = make_entry(epoch, index, EntryKind.OP, rng.randbytes(rng.choice([0, 9, 300, 9_000])), chain)
        entries.append(entry)
        chain = entry.chain
    return entries


def number_of(cluster_id: ClusterId) -> int:
    """Of the last save that is on the disk."""
    return int.from_bytes(cluster_id, "big")


def saves_until(seed: int, number: int) -> Saves:
    """What is on the disk after so many."""
    saves = Saves(seed)
    while saves.number < number:
        saves.apply(saves.next())
    return saves


def main() -> None:
    """Save until killed."""
    path, seed = Path(sys.argv[1]), int(sys.argv[2])
    log.CHECKPOINT_BYTES, log.WAL_BYTES_MAX = 64 << 10, 256 << 10  # kills find checkpoints at work
    store = DataDirectory.open(path).log
    saves = saves_until(seed, number_of(store.load().cluster_id))
    print(store.count_start(), flush=True)
    while True:
        operations = saves.next()
        store.carry_out(operations)
        saves.apply(operations)
        print(saves.number, flush=True)


if __name__ == "__main__":
    main()
