import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import msgspec
import pytest

import chatsvc
from chatsvc.replication.entries import Entry
from chatsvc.replication.events import AppendEntries, HardState, LogView, SaveCommit
from chatsvc.replication.identity import NO_CLUSTER, Epoch
from chatsvc.replication.log import view_of
from chatsvc.storage import DataDirectory, DiskFull, LogStore, StorageDamaged, StorageFailed, StoredLog, log
from chatsvc.storage.wal import wal_path

Config = Callable[..., Entry]
Entries = Callable[..., list[Entry]]
Open = Callable[..., DataDirectory]

HAS_STRACE = shutil.which("strace") is not None and (
    subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0
)
needs_strace = pytest.mark.skipif(not HAS_STRACE, reason="strace is missing or not permitted")


def append(store: LogStore, entries: list[Entry], commit_index: int | None = None) -> None:
    """Save entries as a replica does."""
    commit = [] if commit_index is None else [SaveCommit(commit_index)]
    store.carry_out([AppendEntries(tuple(entries)), *commit])


def test_a_new_log_is_empty(open_directory: Open) -> None:
    assert open_directory().log.load() == StoredLog(NO_CLUSTER, HardState(), LogView())


def test_what_was_appended_is_there_after_a_restart(open_directory: Open, make_entries: Entries) -> None:
    entries = make_entries(7)
    directory = open_directory()
    directory.log.load()
    append(directory.log, entries[:1])
    append(directory.log, entries[1:6], 4)
    append(directory.log, entries[6:])
    assert directory.log.last_index == 7
    directory.close()
    reopened = open_directory().log
    assert reopened.stored_last_index() == 7
    assert reopened.load() == StoredLog(NO_CLUSTER, HardState(commit_index=4), view_of(entries))
    assert reopened.last_index == 7
    assert reopened.read(1, 8, 1 << 20) == entries


# ---- what a replica is told at its start


@pytest.fixture
def varied(make_entries: Entries, make_config: Config) -> list[Entry]:
    """Entries of three epochs, with CONFIGs at their starts and in the middle of the last one."""
    founded = make_config(reason="founded")
    entries = [founded, *make_entries(4, founded)]
    for counter in (8, 12):
        epoch = Epoch(counter, 1, bytes([counter]) * 16)
        entries.append(make_config(entries[-1], epoch, "elected"))
        entries += make_entries(5, entries[-1])
    entries.append(make_config(entries[-1], reason="grows"))
    return entries + make_entries(4, entries[-1])


def test_epochs_configs_and_the_end_are_what_the_entries_say(open_directory: Open, varied: list[Entry]) -> None:
    directory = open_directory()
    directory.log.load()
    append(directory.log, varied)
    directory.close()
    view = open_directory().log.load().view
    assert view == view_of(varied)
    assert [start.first_index for start in view.epochs] == [1, 6, 12]
    assert [config.index for config in view.configs] == [1, 6, 12, 18]


@pytest.mark.parametrize(
    ("entries_max", "bytes_max", "expected"),
    [
        pytest.param(5, 1 << 20, 5, id="by their number"),
        pytest.param(100, 27, 3, id="by their size"),
        pytest.param(100, 0, 1, id="never less than the last one"),
        pytest.param(22, 1 << 20, 22, id="all of them"),
    ],
)
def test_only_the_newest_entries_are_handed_over(
    open_directory: Open,
    varied: list[Entry],
    monkeypatch: pytest.MonkeyPatch,
    entries_max: int,
    bytes_max: int,
    expected: int,
) -> None:
    monkeypatch.setattr(log, "TAIL_ENTRIES_MAX", entries_max)
    monkeypatch.setattr(log, "TAIL_BYTES_MAX", bytes_max)
    directory = open_directory()
    directory.log.load()
    append(directory.log, varied)
    directory.close()
    view = open_directory().log.load().view
    assert view == msgspec.structs.replace(view_of(varied), tail=tuple(varied[-expected:]))


# ---- reading


@pytest.mark.parametrize(
    ("first", "end", "bytes_max", "expected"),
    [
        pytest.param(1, 11, 1 << 20, range(1, 11), id="all"),
        pytest.param(3, 5, 1 << 20, range(3, 5), id="a part"),
        pytest.param(8, 100, 1 << 20, range(8, 11), id="to beyond the end"),
        pytest.param(2, 11, 0, range(2, 3), id="at least one"),
        pytest.param(2, 11, 18, range(2, 5), id="until enough bytes"),
        pytest.param(11, 20, 1 << 20, [], id="after the end"),
        pytest.param(15, 20, 1 << 20, [], id="far after the end"),
        pytest.param(5, 5, 1 << 20, [], id="none"),
    ],
)
def test_reading_gives_a_range_of_about_so_many_bytes(
    directory: DataDirectory, make_entries: Entries, first: int, end: int, bytes_max: int, expected: list[int]
) -> None:
    append(directory.log, make_entries(10))
    assert [entry.index for entry in directory.log.read(first, end, bytes_max)] == list(expected)


def test_entries_are_read_in_another_thread_while_others_are_appended(
    directory: DataDirectory, make_entries: Entries
) -> None:
    entries = make_entries(300)
    append(directory.log, entries[:1])
    wrong: list[object] = []
    stop = Event()

    def read() -> None:
        while not stop.is_set():
            got = directory.log.read(1, 1_000, 1 << 20)
            if got != entries[: len(got)] or not got:
                wrong.append(got)

    reader = Thread(target=read)
    reader.start()
    for entry in entries[1:]:
        append(directory.log, [entry])
    stop.set()
    reader.join()
    assert wrong == []
    assert directory.log.read(1, 1_000, 1 << 20) == entries


# ---- checkpoints


def test_the_wal_stays_bounded_while_a_checkpoint_runs_beside_the_commits(
    directory: DataDirectory, make_entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "CHECKPOINT_BYTES", 256 << 10)
    monkeypatch.setattr(log, "WAL_BYTES_MAX", 1 << 20)
    entries = make_entries(300, payload=bytes(50_000))
    for entry in entries:
        append(directory.log, [entry])
    assert wal_path(directory.log.path).stat().st_size < 8 << 20, "15 MB were written"
    assert directory.log.read(299, 301, 1 << 20) == entries[298:]


def test_a_reader_in_the_middle_does_not_hold_up_appending_or_checkpoints(
    directory: DataDirectory, make_entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "WAL_BYTES_MAX", 1)
    entries = make_entries(20)
    append(directory.log, entries[:10])
    with sqlite3.connect(f"file:{directory.log.path}?mode=ro", uri=True) as other:
        rows = other.execute("SELECT log_index FROM entries")
        next(rows)
        for entry in entries[10:]:
            directory.log.checkpoint()
            append(directory.log, [entry])
        assert len(rows.fetchall()) == 9
    other.close()
    assert directory.log.read(1, 21, 1 << 20) == entries


# ---- damage


def damaged_row(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.create_function("flip", 2, lambda blob, at: bytes([*blob[:at], blob[at] ^ 1, *blob[at + 1 :]]))
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "log_index"),
    [
        pytest.param("UPDATE entries SET entry = flip(entry, 50) WHERE log_index = 4", 4, id="payload"),
        pytest.param("UPDATE entries SET entry = flip(entry, 3) WHERE log_index = 1", 1, id="epoch"),
        pytest.param("UPDATE entries SET entry = flip(entry, 30) WHERE log_index = 9", 9, id="chain"),
        pytest.param("UPDATE entries SET entry = substr(entry, 1, 10) WHERE log_index = 2", 2, id="cut off"),
        pytest.param("DELETE FROM entries WHERE log_index = 3", 3, id="missing in the middle"),
        pytest.param("DELETE FROM entries WHERE log_index = 1", 1, id="missing at the start"),
        pytest.param("DELETE FROM entries WHERE log_index > 6", 7, id="committed ones missing at the end"),
        pytest.param("UPDATE entries SET log_index = 11 WHERE log_index = 10", 10, id="moved"),
    ],
)
def test_damage_to_an_entry_is_found_at_start(
    open_directory: Open, make_entries: Entries, statement: str, log_index: int
) -> None:
    directory = open_directory()
    directory.log.load()
    append(directory.log, make_entries(10), 9)
    directory.close()
    damaged_row(directory.log.path, statement)
    reopened = open_directory()
    with pytest.raises(StorageDamaged, match=f"entry {log_index}|entry 6") as caught:
        reopened.log.load()
    assert caught.value.log_index == log_index


def test_damage_found_while_reading_stops_the_store(directory: DataDirectory, make_entries: Entries) -> None:
    entries = make_entries(11)
    append(directory.log, entries[:10])
    damaged_row(directory.log.path, "UPDATE entries SET entry = flip(entry, 50) WHERE log_index = 4")
    assert directory.log.read(6, 11, 1 << 20) == entries[5:10]
    with pytest.raises(StorageDamaged, match="entry 4 ") as caught:
        directory.log.read(2, 11, 1 << 20)
    assert caught.value.log_index == 4
    with pytest.raises(StorageFailed):
        append(directory.log, entries[10:])


def test_a_log_that_is_no_database_is_refused(open_directory: Open) -> None:
    directory = open_directory()
    directory.close()
    directory.log.path.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StorageDamaged, match="is damaged"):
        open_directory()


@pytest.fixture
def killed_wal(open_directory: Open, make_entries: Entries) -> tuple[Path, list[Entry]]:
    """A log as a killed process leaves it: ten entries, all of them in the WAL."""
    directory = open_directory()
    directory.log.load()
    entries = make_entries(10)
    for entry in entries:
        append(directory.log, [entry])
    path = directory.log.path
    saved = path.read_bytes(), wal_path(path).read_bytes()
    directory.close()
    path.write_bytes(saved[0])
    wal_path(path).write_bytes(saved[1])
    return path, entries


def test_what_is_only_in_the_wal_is_found(killed_wal: tuple[Path, list[Entry]], open_directory: Open) -> None:
    _, entries = killed_wal
    directory = open_directory()
    directory.log.load()
    assert directory.log.read(1, 11, 1 << 20) == entries


def test_a_flipped_bit_anywhere_in_a_synced_part_of_the_wal_is_found(
    killed_wal: tuple[Path, list[Entry]], open_directory: Open
) -> None:
    path, _ = killed_wal
    whole = wal_path(path).read_bytes()
    database = path.read_bytes()
    last_transaction = len(whole) - 2 * 4_120
    for position in [*range(0, 60, 3), *range(60, last_transaction, 997)]:
        path.write_bytes(database)
        damaged = bytearray(whole)
        damaged[position] ^= 4
        wal_path(path).write_bytes(damaged)
        for _ in range(2):  # a second start must not find that the first one has tidied up
            with pytest.raises(StorageDamaged, match=r"log\.db-wal is damaged"):
                open_directory()
        assert wal_path(path).read_bytes() == damaged, f"position {position}: the evidence was altered"


def test_a_last_transaction_that_is_half_written_was_never_acknowledged(
    killed_wal: tuple[Path, list[Entry]], open_directory: Open
) -> None:
    path, entries = killed_wal
    whole = wal_path(path).read_bytes()
    wal_path(path).write_bytes(whole[:-2_000])
    directory = open_directory()
    assert directory.log.load().view.last.log_index == 9
    assert directory.log.read(1, 11, 1 << 20) == entries[:9]


def test_a_wal_cut_off_in_the_middle_is_found_if_what_is_lost_was_in_the_state(
    open_directory: Open, workload: object
) -> None:
    directory = open_directory()
    replica = workload.Replica(directory)  # type: ignore[attr-defined]
    for _ in range(10):
        replica.carry_out([])
    replica.flush()
    path = directory.log.path
    database, wal = path.read_bytes(), wal_path(path).read_bytes()
    directory.close()
    path.write_bytes(database)
    wal_path(path).write_bytes(wal[: len(wal) // 2])
    with pytest.raises(StorageDamaged, match=r"log\.db ends at entry \d, but state\.db was made from 10 entries"):
        open_directory()


# ---- a failing disk

_SAVER = """
import sys
from pathlib import Path
from chatsvc.replication.entries import EntryKind, make_entry
from chatsvc.replication.events import *
from chatsvc.replication.identity import Epoch, Position
from chatsvc.storage import LogStore, StorageError
store = LogStore(Path(sys.argv[1]), bytes(16))
store.load()
wanted, kind = int(sys.argv[2]), sys.argv[3]
epoch, chain = Epoch(1, 2, bytes(16)), bytes(16)
print("ready", flush=True)
sys.stdin.readline()
failures = 0
while (index := store.last_index + 1) <= wanted and failures < 3:
    entry = make_entry(epoch, index, EntryKind.OP, b"payload %d" % index, chain)
    operations = [AppendEntries((entry,)), SaveCommit(index - 1)]
    if kind != "append":
        operations = [TruncateTo(index - 1), SavePromise(epoch), *operations, SaveCluster(bytes(16))]
    if kind == "file":
        operations.insert(2, SaveConfigFile(Position(epoch, 1), index))
    try:
        store.carry_out(operations)
    except StorageError as error:
        failures += 1
        print(type(error).__name__, str(error), flush=True)
    else:
        chain = entry.chain
        print(index, flush=True)
sys.stdin.readline()
"""


def saver(path: Path, count: int, kind: str, *prefix: str) -> "subprocess.Popen[str]":
    LogStore.create(path, bytes(16))
    command = [*prefix, sys.executable, "-c", _SAVER, str(path), str(count), kind]
    environment = {**os.environ, "PYTHONPATH": str(Path(chatsvc.__file__).parents[1])}  # the same code as here
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def traced_saves(tmp_path: Path, kind: str, calls: str) -> list[list[str]]:
    """Those system calls of 25 saves, one list for each, up to the one that acknowledges it."""
    trace = tmp_path / "trace"
    options = ["-f", "-y", "-o", str(trace), "-e", f"trace=write,{calls}"]
    with saver(tmp_path / "log.db", 25, kind, "strace", *options) as process:
        process.communicate("\n\n", timeout=50)
    saves: list[list[str]] = [[]]
    for line in trace.read_text().splitlines():
        call = line.split(maxsplit=1)[1]
        if re.match(r'write\(1[^"]*"(ready|\d)', call):
            saves.append([])
        elif not call.startswith("write("):
            saves[-1].append(call)
    assert len(saves) == 27
    return saves[1:-1]


@needs_strace
@pytest.mark.parametrize("kind", ["append", "mixed"])
def test_every_save_is_synced_once_before_it_is_acknowledged(tmp_path: Path, kind: str) -> None:
    first, *others = traced_saves(tmp_path, kind, "fdatasync,fsync")
    assert len(first) >= 1
    for number, calls in enumerate(others, 2):
        assert len(calls) == 1, f"save {number}"
        assert "log.db-wal" in calls[0]


@needs_strace
def test_the_small_file_is_written_after_the_database_has_what_it_speaks_of(tmp_path: Path) -> None:
    for calls in traced_saves(tmp_path, "file", "fdatasync,fsync,rename,openat")[1:]:
        names = [re.findall(r"[\w.-]*log\.db-wal|committed\.json(?:\.new)?|" + tmp_path.name, call) for call in calls]
        assert [(call.split("(")[0], name[-1]) for call, name in zip(calls, names, strict=True)] == [
            ("fdatasync", "log.db-wal"),
            ("openat", "committed.json.new"),
            ("fsync", "committed.json.new"),
            ("rename", "committed.json"),
            ("openat", tmp_path.name),
            ("fsync", tmp_path.name),
        ]


@needs_strace
@pytest.mark.parametrize("kind", ["append", "mixed"])
@pytest.mark.parametrize(
    "fault",
    ["fdatasync:error=EIO:when=20", "pwrite64:error=EIO:when=60"],
    ids=["sync fails once", "write fails once"],
)
def test_after_one_failure_of_the_disk_the_store_never_works_again(tmp_path: Path, fault: str, kind: str) -> None:
    options = ["-f", "-o", os.devnull, "-e", f"inject={fault}"]
    with saver(tmp_path / "log.db", 100, kind, "strace", *options) as process:
        output, _ = process.communicate("\n\n", timeout=50)
    lines = output.splitlines()[1:]
    acknowledged = [line for line in lines if line.isdigit()]
    assert 5 < len(acknowledged) < 100
    failure = f"StorageFailed {tmp_path}/log.db failed (disk I/O error): check the disk, then start again"
    assert lines[len(acknowledged) :] == [failure] * 3
    store = LogStore(tmp_path / "log.db", bytes(16))
    assert store.load().view.last.log_index >= len(acknowledged)
    store.close()


# ---- a full disk


def append_until_full(store: LogStore, entries: list[Entry]) -> int:
    """How many fit."""
    for count, entry in enumerate(entries):
        try:
            append(store, [entry])
        except DiskFull:
            return count
    return len(entries)


def fill(path: Path) -> None:
    """Leave no room."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4_096)):
            pass


def test_a_full_disk_refuses_appends_until_there_is_room(
    mount: Callable[..., Path], open_directory: Open, make_entries: Entries
) -> None:
    small = mount("size=3m")
    path = small / "data"
    directory = open_directory(path)
    directory.log.load()
    ballast = small / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(1 << 20))
    entries = make_entries(200, payload=bytes(20_000))
    written = append_until_full(directory.log, entries)
    assert 10 < written < 200
    for _ in range(3):
        with pytest.raises(DiskFull, match=f"the disk of {path} is full: free some space"):
            append(directory.log, entries[written : written + 1])
    assert directory.log.read(1, 1_000, 1 << 30) == entries[:written]
    ballast.unlink()
    append(directory.log, entries[written : written + 5])
    assert directory.log.read(1, 1_000, 1 << 30) == entries[: written + 5]
    directory.close()
    reopened = open_directory(path).log
    assert reopened.load().view.last.log_index == written + 5


def test_a_checkpoint_without_room_is_no_failure(
    mount: Callable[..., Path], open_directory: Open, make_entries: Entries
) -> None:
    small = mount("size=3m")
    directory = open_directory(small / "data")
    directory.log.load()
    entries = make_entries(61, payload=bytes(20_000))
    append(directory.log, entries[:60])
    fill(small / "ballast")
    directory.log.checkpoint()
    assert directory.log.read(1, 100, 1 << 30) == entries[:60]
    (small / "ballast").unlink()
    append(directory.log, entries[60:])
    directory.log.checkpoint()
    assert directory.log.read(1, 100, 1 << 30) == entries
