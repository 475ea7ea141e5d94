import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import apsw
import pytest

import chatsvc
from chatsvc.replication import HardState, Identity, LogView, Settings
from chatsvc.replication.entries import Entry
from chatsvc.replication.events import (
    AppendEntries,
    ConfigFile,
    Operation,
    SaveCluster,
    SaveCommit,
    SaveConfigFile,
    SavePromise,
    TruncateTo,
)
from chatsvc.replication.founding import found
from chatsvc.replication.identity import NO_CLUSTER, Epoch
from chatsvc.replication.log import view_of
from chatsvc.replication.replica import PROBLEM_ROLLED_BACK, Replica
from chatsvc.storage import DataDirectory, DiskFull, LogStore, StorageDamaged, StorageFailed, StoredLog, log
from chatsvc.storage.wal import wal_path

Config = Callable[..., Entry]
Entries = Callable[..., list[Entry]]
Open = Callable[..., DataDirectory]

EVERYTHING = (1, 1 << 40, 1 << 40)

EPOCH = Epoch(9, 4, b"e" * 16)

KILLS = 16
KILLS_A_DIRECTORY = 8


@pytest.fixture
def store(directory: DataDirectory) -> LogStore:
    """A new log, loaded."""
    return directory.log


@pytest.fixture
def reload(directory: DataDirectory, open_directory: Open) -> Callable[[], StoredLog]:
    """Closes `store`, and gives what a restart finds."""

    def reload_it() -> StoredLog:
        directory.close()
        reopened = open_directory()
        stored = reopened.log.load()
        reopened.close()
        return stored

    return reload_it


# ---- one operation at a time


def test_a_promise_survives(store: LogStore, reload: Callable[[], StoredLog]) -> None:
    store.carry_out([SavePromise(Epoch(8, 0xFFFF, b"x" * 16))])
    store.carry_out([SavePromise(EPOCH)])
    assert reload() == StoredLog(NO_CLUSTER, HardState(promised=EPOCH), LogView())


def test_a_commit_index_survives_without_and_with_entries(
    store: LogStore, make_entries: Entries, reload: Callable[[], StoredLog]
) -> None:
    entries = make_entries(5)
    store.carry_out([AppendEntries(tuple(entries[:3])), SaveCommit(1)])
    store.carry_out([SaveCommit(3)])
    store.carry_out([AppendEntries(tuple(entries[3:]))])
    assert reload() == StoredLog(NO_CLUSTER, HardState(commit_index=3), view_of(entries))


def test_a_cluster_survives(store: LogStore, reload: Callable[[], StoredLog]) -> None:
    store.carry_out([SaveCluster(b"\0c" * 8)])
    assert reload() == StoredLog(b"\0c" * 8, HardState(), LogView())


def test_nothing_to_do_is_nothing_done(store: LogStore) -> None:
    store.carry_out([])
    store.carry_out([AppendEntries(())])
    assert store.last_index == 0


def test_a_truncated_log_goes_on_from_there_and_keeps_what_was_cut_off(
    store: LogStore, make_entries: Entries, reload: Callable[[], StoredLog]
) -> None:
    entries = make_entries(6)
    others = make_entries(3, entries[3], b"another", EPOCH)
    store.carry_out([AppendEntries(tuple(entries)), SaveCommit(3)])
    store.carry_out([TruncateTo(4)])
    assert store.last_index == 4
    assert store.read(*EVERYTHING) == entries[:4]
    store.carry_out([AppendEntries(tuple(others))])
    assert store.orphans() == entries[4:]
    assert reload() == StoredLog(NO_CLUSTER, HardState(commit_index=3), view_of(entries[:4] + others))


@pytest.mark.parametrize("last_index", [3, 4, 100], ids=["at the end", "beyond it", "far beyond it"])
def test_a_truncation_that_cuts_nothing_off_changes_nothing(
    store: LogStore, make_entries: Entries, last_index: int
) -> None:
    entries = make_entries(3)
    store.carry_out([AppendEntries(tuple(entries))])
    store.carry_out([TruncateTo(last_index)])
    assert store.last_index == 3
    assert store.read(*EVERYTHING) == entries
    assert store.orphans() == []


def test_a_log_can_be_truncated_to_nothing(
    store: LogStore, make_entries: Entries, reload: Callable[[], StoredLog]
) -> None:
    entries = make_entries(3)
    store.carry_out([AppendEntries(tuple(entries))])
    store.carry_out([TruncateTo(0)])
    assert store.last_index == 0
    assert store.orphans() == entries
    assert reload().view == LogView()


def test_orphans_of_several_epochs_are_kept_at_one_index_and_each_only_once(
    store: LogStore, make_entries: Entries
) -> None:
    base = make_entries(2)
    versions = [make_entries(2, base[1], b"v", Epoch(counter, 0, b"e" * 16)) for counter in (10, 9, 300)]
    store.carry_out([AppendEntries(tuple(base))])
    for version in [*versions, versions[0]]:
        store.carry_out([AppendEntries(tuple(version)), TruncateTo(2)])
    assert store.orphans() == [*versions[1], *versions[0], *versions[2]], "by epoch and index"


def test_the_small_file_is_there_after_a_restart(
    store: LogStore, make_config: Config, reload: Callable[[], StoredLog]
) -> None:
    config = make_config()
    store.carry_out([AppendEntries((config,)), SaveCommit(1), SaveConfigFile(config.position, 1)])
    assert reload().hard_state == HardState(commit_index=1, config_file=ConfigFile(config.position, 1))


def test_of_two_small_files_in_one_save_the_later_one_is_written(
    store: LogStore, make_config: Config, reload: Callable[[], StoredLog]
) -> None:
    first = make_config()
    second = make_config(first)
    operations: list[Operation] = []
    for index, config in enumerate((first, second), 1):
        operations += [AppendEntries((config,)), SaveCommit(index), SaveConfigFile(config.position, index)]
    store.carry_out(operations)
    assert reload().hard_state == HardState(commit_index=2, config_file=ConfigFile(second.position, 2))


def test_starts_are_counted(open_directory: Open) -> None:
    counts = []
    for _ in range(3):
        directory = open_directory()
        directory.log.load()
        counts.append(directory.log.count_start())
        directory.close()
    assert counts == [1, 2, 3]


# ---- several operations


def test_operations_are_carried_out_in_their_order(
    store: LogStore, make_entries: Entries, reload: Callable[[], StoredLog]
) -> None:
    entries = make_entries(6)
    others = make_entries(4, entries[1], b"another", EPOCH)
    store.carry_out([AppendEntries(tuple(entries[:3]))])
    store.carry_out(
        [
            AppendEntries(tuple(entries[3:])),
            SaveCommit(1),
            TruncateTo(2),
            SavePromise(Epoch(1, 1, b"f" * 16)),
            AppendEntries(tuple(others[:3])),
            SaveCommit(4),
            SavePromise(EPOCH),
            TruncateTo(4),
            AppendEntries(tuple(others[2:])),
            SaveCluster(b"c" * 16),
        ]
    )
    log_entries = entries[:2] + others
    assert store.last_index == 6
    assert store.read(*EVERYTHING) == log_entries
    assert store.orphans() == [*entries[2:], others[2]]
    assert reload() == StoredLog(b"c" * 16, HardState(EPOCH, 4), view_of(log_entries))


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_saves_leaves_what_it_says(open_directory: Open, saves: ModuleType, seed: int) -> None:
    expected = saves.Saves(seed)
    directory = open_directory()
    directory.log.load()
    for number in range(60):
        operations = expected.next()
        directory.log.carry_out(operations)
        expected.apply(operations)
        assert directory.log.last_index == len(expected.entries)
        if number % 20 == 19:
            assert directory.log.orphans() == [entry for _, entry in sorted(expected.orphans.items())]
            directory.close()
            directory = open_directory()
            assert directory.log.load() == expected.stored()
    assert expected.orphans
    assert expected.config_file


def test_a_save_with_a_gap_does_nothing_at_all(
    store: LogStore, make_entries: Entries, reload: Callable[[], StoredLog]
) -> None:
    entries = make_entries(6)
    store.carry_out([AppendEntries(tuple(entries[:3]))])
    with pytest.raises(AssertionError, match="the log has no gaps"):
        store.carry_out([SavePromise(EPOCH), TruncateTo(2), SaveCommit(2), AppendEntries(tuple(entries[4:]))])
    assert store.last_index == 3
    assert store.orphans() == []
    store.carry_out([AppendEntries(tuple(entries[3:]))])
    assert reload() == StoredLog(NO_CLUSTER, HardState(), view_of(entries))


def test_what_a_reader_sees_is_before_or_after_a_save(store: LogStore, make_entries: Entries) -> None:
    entries = make_entries(4)
    others = make_entries(3, entries[1], b"another", EPOCH)
    store.carry_out([AppendEntries(tuple(entries))])
    seen: list[list[Entry]] = []
    execute = store._writer.execute

    class Writer:
        """Looks into the log after each statement."""

        def __getattr__(self, name: str) -> object:
            return getattr(writer, name)

        def execute(self, *arguments: object) -> object:
            result = execute(*arguments)
            seen.append(store.read(1, 100, 1 << 20))
            return result

    writer, store._writer = store._writer, Writer()
    try:
        store.carry_out([TruncateTo(2), AppendEntries(tuple(others)), SavePromise(EPOCH)])
    finally:
        store._writer = writer
    assert len(seen) > 4
    assert all(found == entries for found in seen[:-1])
    assert seen[-1] == entries[:2] + others


def test_no_checkpoint_is_made_inside_a_transaction(
    open_directory: Open, saves: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = open_directory()
    directory.log.load()
    store, expected = directory.log, saves.Saves(1)
    finished = 0
    write, finish = store._write, store._finish_checkpoint

    def write_while_too_large(*arguments: object) -> None:
        store._wal_too_large = True  # as the thread for checkpoints finds it at any moment
        write(*arguments)

    def finish_checkpoint() -> None:
        nonlocal finished
        assert not store._writer.in_transaction
        finished += 1
        finish()

    monkeypatch.setattr(store, "_write", write_while_too_large)
    monkeypatch.setattr(store, "_finish_checkpoint", finish_checkpoint)
    for _ in range(40):
        operations = expected.next()
        store.carry_out(operations)
        expected.apply(operations)
    assert finished == 40, "one a save, before it"
    assert wal_path(store.path).stat().st_size < 1 << 20
    directory.close()
    assert open_directory().log.load() == expected.stored()


# ---- kills


def save_until_killed(saves: ModuleType, path: Path, seed: int, rng: random.Random) -> tuple[int, int]:
    """Let a process save, and kill it.

    Returns:
        How many starts it counted, and the number of the last save that it called safe.
    """
    command = [sys.executable, saves.__file__, str(path), str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(Path(chatsvc.__file__).parents[1])}  # the same code as here
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        starts, number = int(process.stdout.readline()), 0
        for _ in range(rng.randint(1, 60)):
            number = int(process.stdout.readline())
        process.kill()
        for line in process.stdout:
            if line.endswith("\n"):
                number = int(line)
    return starts, number


@pytest.mark.slow
def test_a_killed_process_leaves_each_save_whole_or_not_at_all(
    open_directory: Open, saves: ModuleType, tmp_path: Path
) -> None:
    rng = random.Random(2)
    seed = 0
    for kill in range(KILLS):
        seed = kill // KILLS_A_DIRECTORY
        path = tmp_path / f"data-{seed}"
        starts, safe = save_until_killed(saves, path, seed, rng)
        assert starts == kill % KILLS_A_DIRECTORY + 1
        directory = open_directory(path)
        stored = directory.log.load()
        number = saves.number_of(stored.cluster_id)
        assert safe <= number <= safe + 1
        expected = saves.saves_until(seed, number)
        if stored.hard_state.config_file != expected.config_file:
            # Killed between the database and the file.
            assert number == safe + 1
            expected.config_file = saves.saves_until(seed, safe).config_file
        assert stored == expected.stored()
        assert directory.log.orphans() == [entry for _, entry in sorted(expected.orphans.items())]
        directory.close()


# ---- a full disk


def fill(path: Path) -> None:
    """Leave no room."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4_096)):
            pass


def stored_rows(path: Path) -> list[object]:
    """Everything in the tables."""
    with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as other:
        rows = [other.execute(f"SELECT * FROM {table}").fetchall() for table in ("entries", "orphans", "hard_state")]
    other.close()
    return rows


@pytest.mark.parametrize("pages_in_memory", [4_000, 10], ids=["noticed at the end", "noticed in the middle"])
@pytest.mark.parametrize("place", range(5))
def test_a_full_disk_undoes_all_of_a_save_which_can_be_made_again_when_there_is_room(
    mount: Callable[..., Path],
    open_directory: Open,
    make_entries: Entries,
    make_config: Config,
    pages_in_memory: int,
    place: int,
) -> None:
    small = mount("size=3m")
    directory = open_directory(small / "data")
    store = directory.log
    store.load()
    config = make_config()
    entries = [config, *make_entries(4, config)]
    before = SaveConfigFile(config.position, 1)
    store.carry_out([AppendEntries(tuple(entries)), SaveCommit(1), SavePromise(Epoch(8, 0, b"x" * 16)), before])
    store._writer.pragma("cache_size", pages_in_memory)
    large = make_entries(20, entries[2], bytes(20_000), EPOCH)
    operations: list[Operation] = [
        TruncateTo(3),
        SavePromise(EPOCH),
        SaveCommit(3),
        SaveCluster(b"c" * 16),
        SaveConfigFile(config.position, 3),
    ]
    operations.insert(max(1, place), AppendEntries(tuple(large)))  # what is too large
    rows = stored_rows(store.path)
    fill(small / "ballast")
    for _ in range(3):
        with pytest.raises(DiskFull, match="free some space"):
            store.carry_out(operations)
        assert store.last_index == 5
        assert not store._writer.in_transaction
        assert stored_rows(store.path) == rows
        assert store.read(1, 100, 1 << 20) == entries
    (small / "ballast").unlink()
    store.carry_out(operations)
    assert store.last_index == 23
    assert store.orphans() == entries[3:]
    directory.close()
    assert open_directory(small / "data").log.load() == StoredLog(
        b"c" * 16, HardState(EPOCH, 3, ConfigFile(config.position, 3)), view_of(entries[:3] + large)
    )


def test_the_small_file_may_find_no_room(
    mount: Callable[..., Path], open_directory: Open, make_entries: Entries, make_config: Config
) -> None:
    small = mount("size=3m")
    directory = open_directory(small / "data")
    store = directory.log
    store.load()
    config = make_config()
    entries = [config, *make_entries(20, config, bytes(10_000))]
    store.carry_out([AppendEntries((config,)), SaveCommit(1), SaveConfigFile(config.position, 1)])
    store.carry_out([AppendEntries(tuple(entries[1:]))])
    store.checkpoint()  # what is saved next finds its room in the WAL
    fill(small / "ballast")
    store.carry_out([SaveCommit(9), SaveConfigFile(config.position, 9)])
    assert sorted(os.listdir(small / "data")) == sorted(
        ["committed.json", "identity.json", "lock"]
        + [database + suffix for database in ("log.db", "state.db") for suffix in ("", "-shm", "-wal")]
    ), "nothing half written is left"
    (small / "ballast").unlink()
    directory.close()
    reopened = open_directory(small / "data").log
    assert reopened.load().hard_state == HardState(commit_index=9, config_file=ConfigFile(config.position, 1))
    reopened.carry_out([SaveCommit(10), SaveConfigFile(config.position, 10)])
    reopened.close()
    again = LogStore(reopened.path, directory.dir_id)
    assert again.load().hard_state.config_file == ConfigFile(config.position, 10)
    again.close()


def test_a_small_file_that_fails_otherwise_stops_the_store(
    store: LogStore, make_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()

    def fail(path: Path, content: bytes) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(log, "write_durably", fail)
    with pytest.raises(StorageFailed, match=r"committed\.json failed \(Input/output error\): check the disk"):
        store.carry_out([AppendEntries((config,)), SaveConfigFile(config.position, 1)])
    with pytest.raises(StorageFailed, match=r"committed\.json failed"):
        store.carry_out([SaveCommit(1)])


# ---- damage


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"epoch":"',
        b'{"epoch":"0000","log_index":1,"commit_index":1}',
        b'{"epoch":"not a number","log_index":1,"commit_index":1}',
        b'{"log_index":1,"commit_index":1}',
        b"\xff\0",
    ],
    ids=["empty", "cut off", "epoch cut off", "odd epoch", "something missing", "something else"],
)
def test_a_damaged_small_file_is_noticed(store: LogStore, reload: Callable[[], StoredLog], content: bytes) -> None:
    store.path.with_name("committed.json").write_bytes(content)
    with pytest.raises(StorageDamaged, match=r"committed\.json is damaged: restore the directory from a copy"):
        reload()


@pytest.mark.parametrize("key", ["commit_index", "promised", "cluster_id", "starts"])
@pytest.mark.parametrize(
    "damage",
    [
        "CAST(x'ff' || substr(value, 2) AS BLOB)",
        "substr(value, 1, length(value) - 1)",
        "x''",
        "7",
        "(SELECT value FROM hard_state WHERE key = 'other')",
    ],
    ids=["altered", "cut off", "emptied", "a number", "another one's"],
)
def test_a_damaged_hard_state_is_noticed(
    store: LogStore, make_entries: Entries, reload: Callable[[], StoredLog], key: str, damage: str
) -> None:
    assert store.count_start() == 1
    entries = tuple(make_entries(3))
    store.carry_out([AppendEntries(entries), SavePromise(Epoch(1 << 60, 0, bytes(16)))])
    store.carry_out([SaveCommit(2), SaveCluster(b"c" * 16)])
    store.close()
    other = apsw.Connection(str(store.path))
    other.execute("INSERT INTO hard_state SELECT 'other', value FROM hard_state WHERE key <> ? LIMIT 1", (key,))
    other.execute(f"UPDATE hard_state SET value = {damage} WHERE key = ?", (key,))
    other.close()
    with pytest.raises(StorageDamaged, match=f"'{key}' in .*log.db is damaged"):
        reload()


def test_a_damaged_orphan_is_noticed(store: LogStore, make_entries: Entries) -> None:
    store.carry_out([AppendEntries(tuple(make_entries(2))), TruncateTo(0)])
    other = apsw.Connection(str(store.path))
    other.execute("UPDATE orphans SET entry = CAST(entry || 'x' AS BLOB) WHERE log_index = 2")
    other.close()
    with pytest.raises(StorageDamaged, match="entry 2 of"):
        store.orphans()


# ---- a database that was put back


def replica_of(directory: DataDirectory, stored: StoredLog) -> Replica:
    identity = Identity(stored.cluster_id, directory.dir_id, 1, "host:1", "name")
    return Replica(identity, stored.hard_state, stored.view, Settings(), lambda n: 0, 0)


def test_a_replica_recognises_a_database_that_is_older_than_the_small_file(
    open_directory: Open, make_entries: Entries, make_config: Config
) -> None:
    directory = open_directory()
    stored = directory.log.load()
    identity = Identity(NO_CLUSTER, directory.dir_id, 1, "host:1", "name")
    _, view, save = found(identity, random.Random(1).randrange)
    directory.log.carry_out(save.operations)
    founding = view.tail[0]
    directory.log.carry_out([SaveCommit(1), SaveConfigFile(founding.position, 1)])
    directory.close()
    early = directory.log.path.read_bytes()
    assert not wal_path(directory.log.path).exists()

    directory = open_directory()
    stored = directory.log.load()
    assert replica_of(directory, stored).status().problem == ""
    entries = make_entries(3, founding)
    config = make_config(entries[-1])
    directory.log.carry_out([AppendEntries((*entries, config))])
    directory.log.carry_out([SaveCommit(5), SaveConfigFile(config.position, 5)])
    directory.close()
    late = directory.log.path.read_bytes()

    directory.log.path.write_bytes(early)
    directory = open_directory()
    assert replica_of(directory, directory.log.load()).status().problem == PROBLEM_ROLLED_BACK
    # Even when it has grown again, in another way.
    others = make_entries(9, founding, epoch=EPOCH)
    directory.log.carry_out([AppendEntries(tuple(others)), SaveCommit(10)])
    directory.close()
    directory = open_directory()
    assert replica_of(directory, directory.log.load()).status().problem == PROBLEM_ROLLED_BACK
    directory.close()

    directory.log.path.write_bytes(late)
    directory = open_directory()
    assert replica_of(directory, directory.log.load()).status().problem == ""
