"""What the tests of storage share."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chatsvc.storage import NO_CHAIN, DataDirectory, EntryKind, LogEntry, chain_hash

EPOCH = b"\0\0\0\7\1\2" + b"d" * 16


def _load_workload() -> ModuleType:
    """The module beside this one, which is a program of its own, too, and so in no package."""
    name = "storage_workload"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("workload.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_WORKLOAD = _load_workload()


@pytest.fixture
def workload() -> ModuleType:
    """The module `workload`."""
    return _WORKLOAD


@pytest.fixture
def open_directory(tmp_path: Path) -> Iterator[Callable[..., DataDirectory]]:
    """Opens `tmp_path/data`, or another path; whatever is open at the end of the test is closed."""
    opened: list[DataDirectory] = []

    def open_one(path: Path | None = None, **options: object) -> DataDirectory:
        directory = DataDirectory.open(path or tmp_path / "data", **options)
        opened.append(directory)
        return directory

    yield open_one
    for directory in opened:
        directory.close()


@pytest.fixture
def directory(open_directory: Callable[..., DataDirectory]) -> DataDirectory:
    """A new directory, its log loaded."""
    made = open_directory()
    made.log.load()
    return made


@pytest.fixture
def make_entries() -> Callable[..., list[LogEntry]]:
    """Makes entries that follow `before`."""

    def make(count: int, before: LogEntry | None = None, payload: bytes = b"payload") -> list[LogEntry]:
        entries: list[LogEntry] = []
        log_index, chain = (0, NO_CHAIN) if before is None else (before.log_index, before.chain)
        for _ in range(count):
            log_index += 1
            content = payload + b"%d" % log_index
            chain = chain_hash(chain, log_index, EPOCH, EntryKind.OP, content)
            entries.append(LogEntry.make(log_index, EPOCH, EntryKind.OP, content, chain))
        return entries

    return make


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system in memory; the test is skipped where that is not permitted."""
    mounted: list[Path] = []

    def mount_one(options: str, name: str = "mounted") -> Path:
        path = tmp_path / name
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount_one
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
