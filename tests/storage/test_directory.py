import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chatsvc.replication.events import LogView, SaveCluster
from chatsvc.replication.identity import NO_CLUSTER
from chatsvc.storage import (
    DataDirectory,
    DirectoryLocked,
    DirectoryUnusable,
    DiskFull,
    NewerFormat,
    StorageDamaged,
    directory,
    log,
    state,
)
from chatsvc.storage.wal import wal_path

Open = Callable[..., DataDirectory]


def test_a_new_directory_has_a_random_identity_that_stays(open_directory: Open, tmp_path: Path) -> None:
    first, other = open_directory(), open_directory(tmp_path / "other")
    assert [len(made.dir_id) for made in (first, other)] == [16, 16]
    assert first.dir_id != other.dir_id
    first.close()
    assert open_directory().dir_id == first.dir_id


def test_a_given_identity_is_taken(open_directory: Open) -> None:
    made = open_directory(new_dir_id=b"d" * 16)
    assert made.dir_id == b"d" * 16
    made.close()
    assert open_directory(new_dir_id=b"e" * 16).dir_id == b"d" * 16, "only by a new one"


def test_a_new_directory_belongs_to_no_cluster_until_told(open_directory: Open) -> None:
    made = open_directory()
    assert made.log.load().cluster_id == NO_CLUSTER
    made.log.carry_out([SaveCluster(b"\xab" * 16)])
    made.close()
    assert open_directory().log.load().cluster_id == b"\xab" * 16


def test_only_its_owner_may_enter_a_new_directory(open_directory: Open, tmp_path: Path) -> None:
    path = open_directory(tmp_path / "several" / "levels" / "down").path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_second_opening_is_refused_until_the_first_is_closed(open_directory: Open) -> None:
    first = open_directory()
    with pytest.raises(DirectoryLocked, match=f"is in use by process {os.getpid()}: stop that process"):
        open_directory()
    first.close()
    first.close()
    open_directory()


def test_another_process_is_refused_even_while_a_child_of_a_killed_owner_lives(tmp_path: Path) -> None:
    script = """
import subprocess, sys
from pathlib import Path
from chatsvc.storage import DataDirectory
directory = DataDirectory.open(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
print(child.pid, flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        try:
            with pytest.raises(DirectoryLocked, match=f"is in use by process {owner.pid}:"):
                DataDirectory.open(tmp_path / "data")
            owner.kill()
            owner.wait()
            DataDirectory.open(tmp_path / "data").close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_directory_of_a_newer_format_is_refused(open_directory: Open) -> None:
    made = open_directory()
    made.close()
    identity = made.path / "identity.json"
    identity.write_text(json.dumps({"format": 3, "unheard of": True}))
    with pytest.raises(NewerFormat, match=r"made by a newer chatsvc \(format 3; this one knows 1\): use that version"):
        open_directory()


@pytest.mark.parametrize(("module", "name"), [(log, "LOG_FORMAT"), (state, "STATE_FORMAT")], ids=["log", "state"])
def test_a_database_of_a_newer_format_is_refused(
    open_directory: Open, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(module, name, 2)
        open_directory().close()
    with pytest.raises(NewerFormat, match=r"\(format 2; this one knows 1\)"):
        open_directory()


def test_a_missing_directory_is_made_only_if_that_is_wanted(open_directory: Open, tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusable, match="No such file or directory"):
        open_directory(tmp_path / "none", make=False)
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DirectoryUnusable, match="is no data directory: use the right one"):
        open_directory(tmp_path / "empty", make=False)
    made = open_directory(tmp_path / "empty")
    made.close()
    assert open_directory(tmp_path / "empty", make=False).dir_id == made.dir_id


def test_a_directory_with_other_files_is_left_alone(open_directory: Open, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all there is")
    with pytest.raises(DirectoryUnusable, match=r"has other files in it \('thesis.txt'\) and no identity.json"):
        open_directory(tmp_path)


def test_a_file_is_no_directory(open_directory: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DirectoryUnusable, match="can't be used as a data directory"):
            open_directory(path)


def test_a_read_only_file_system_is_refused(mount: Callable[..., Path], open_directory: Open) -> None:
    path = mount("size=8m")
    open_directory(path / "data").close()
    done = subprocess.run(["mount", "-o", "remount,ro", str(path)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be remounted here")
    for place in ("data", "new"):
        with pytest.raises(DirectoryUnusable, match=r"Read-only file system"):
            open_directory(path / place)


@pytest.mark.parametrize("room", ["4k", "12k", "40k", "80k"])
def test_a_disk_without_room_for_a_new_directory_is_full_and_later_is_not(
    mount: Callable[..., Path], open_directory: Open, room: str
) -> None:
    path = mount(f"size={room}")
    with pytest.raises(DiskFull, match=f"the disk of {path}.* is full: free some space"):
        open_directory(path / "data")
    subprocess.run(["mount", "-o", "remount,size=8m", str(path)], check=True)
    made = open_directory(path / "data")
    assert made.log.load().view == LogView()


@pytest.mark.parametrize("name", ["log.db", "state.db"])
def test_a_missing_database_is_noticed(open_directory: Open, name: str) -> None:
    made = open_directory()
    made.close()
    (made.path / name).unlink()
    with pytest.raises(StorageDamaged, match=f"{name} is missing"):
        open_directory()


@pytest.mark.parametrize("name", ["log.db", "state.db"])
def test_an_emptied_database_is_noticed(open_directory: Open, name: str) -> None:
    made = open_directory()
    made.close()
    (made.path / name).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StorageDamaged, match=f"{name} was emptied"):
            open_directory()


@pytest.mark.parametrize("name", ["log.db", "state.db"])
def test_another_directory_s_database_is_noticed(open_directory: Open, tmp_path: Path, name: str) -> None:
    first, other = open_directory(), open_directory(tmp_path / "other")
    first.close()
    other.close()
    (other.path / name).replace(first.path / name)
    with pytest.raises(StorageDamaged, match=f"{name} belongs to another directory"):
        open_directory()


def test_a_damaged_identity_is_noticed(open_directory: Open) -> None:
    made = open_directory()
    made.close()
    (made.path / "identity.json").write_bytes(b'{"format":1,')
    with pytest.raises(StorageDamaged, match=r"identity.json is damaged"):
        open_directory()


def test_a_log_that_was_rolled_back_behind_the_state_is_noticed(open_directory: Open, workload: object) -> None:
    made = open_directory()
    replica = workload.Replica(made)  # type: ignore[attr-defined]
    replica.carry_out([])
    made.close()
    early = made.log.path.read_bytes()
    replica = workload.Replica(open_directory())  # type: ignore[attr-defined]
    replica.carry_out([])
    replica.flush()
    replica.directory.close()
    made.log.path.write_bytes(early)
    assert not wal_path(made.log.path).exists()
    with pytest.raises(StorageDamaged, match=r"ends at entry 1, but state.db was made from 2 entries"):
        open_directory()


@pytest.mark.parametrize("step", ["_write_identity", "LogStore.create", "StateStore.create", "sync_directory"])
def test_a_directory_whose_making_was_interrupted_is_made_again(
    open_directory: Open, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class PowerFailure(BaseException):
        pass

    calls = 0

    def fail_after(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal calls
            function(*arguments)
            calls += 1
            raise PowerFailure

        return call

    with monkeypatch.context() as broken:
        owner: object = directory
        *path, name = step.split(".")
        for part in path:
            owner = getattr(owner, part)
        broken.setattr(owner, name, fail_after(getattr(owner, name)))
        with pytest.raises(PowerFailure):
            open_directory()
    assert calls == 1
    made = open_directory()
    assert made.log.load().view == LogView()
    assert made.state.load().applied_index == 0
