"""What the tests of storage share."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chatsvc.replication.configs import ConfigContent, Mode, encode_config
from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind, make_entry
from chatsvc.replication.identity import Epoch, Member
from chatsvc.storage import DataDirectory

EPOCH = Epoch(7, 258, b"d" * 16)


def _load(file: str) -> ModuleType:
    """A module beside this one, which is a program of its own, too, and so in no package."""
    name = f"storage_{file}"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{file}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_WORKLOAD = _load("workload")
_SAVES = _load("saves")


@pytest.fixture
def workload() -> ModuleType:
    """The module `workload`."""
    return _WORKLOAD


@pytest.fixture
def saves() -> ModuleType:
    """The module `saves`."""
    return _SAVES


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
def make_entries() -> Callable[..., list[Entry]]:
    """Makes entries that follow `before`."""

    def make(
        count: int, before: Entry | None = None, payload: bytes = b"payload", epoch: Epoch | None = None
    ) -> list[Entry]:
        entries: list[Entry] = []
        index, chain = (0, NO_CHAIN) if before is None else (before.index, before.chain)
        epoch = epoch or (EPOCH if before is None else before.epoch)
        for _ in range(count):
            index += 1
            entries.append(make_entry(epoch, index, EntryKind.OP, payload + b"%d" % index, chain))
            chain = entries[-1].chain
        return entries

    return make


@pytest.fixture
def make_config() -> Callable[..., Entry]:
    """Makes a CONFIG that follows `before`, with one server in it."""

    def make(before: Entry | None = None, epoch: Epoch | None = None, reason: str = "") -> Entry:
        index, chain = (0, NO_CHAIN) if before is None else (before.index, before.chain)
        epoch = epoch or (EPOCH if before is None else before.epoch)
        content = ConfigContent((b"d" * 16,), (Member(b"d" * 16, "host:1", "d"),), Mode.AVAILABLE, reason)
        return make_entry(epoch, index + 1, EntryKind.CONFIG, encode_config(content), chain)

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
