import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import chatsvc
from chatsvc.domain.state import ChatState
from chatsvc.storage import DataDirectory

Open = Callable[..., DataDirectory]

KILLS = 16
KILLS_A_DIRECTORY = 4


def assert_same(state: ChatState, expected: ChatState) -> None:
    """Two states are equal in everything that the rules look at."""
    assert state.digest == expected.digest
    assert state.accounts == expected.accounts
    assert state.account_ids == expected.account_ids
    assert state.next_account_id == expected.next_account_id
    assert dict(state.clients) == dict(expected.clients)
    living = state.accounts.keys()
    heads = {
        key: seq for key, seq in expected.conversations.items() if key >> 32 in living or key & 0xFFFFFFFF in living
    }
    assert {key: state.conversations.get(key, 0) for key in heads} == heads


def assert_tables_hold(directory: DataDirectory, workload: ModuleType) -> None:
    """The tables, flushed, hold what the whole log says: every message, every inbox."""
    expected = ChatState()
    conversations: dict[int, list[tuple[int, str, int]]] = {}
    inboxes: dict[int, list[tuple[int, str]]] = {}
    names: dict[int, str] = {}
    for entry in directory.log.read(1, 1 << 40, 1 << 40):
        time_us, commands = workload.decode(entry.payload)
        expected.apply(commands, time_us)
        changes = expected.take_changes()
        names |= {account.account_id: account.user for account in changes.accounts.values()}
        for message in changes.messages:
            conversations.setdefault(message.conversation, []).append((message.conversation_seq, message.text, time_us))
            inboxes.setdefault(message.recipient_id, []).append((message.inbox_seq, message.text))
    assert directory.state.load().digest == expected.digest
    for conversation, messages in conversations.items():
        got, has_older = directory.state.read_conversation(conversation, 0, 1_000_000)
        assert not has_older
        low, high = conversation >> 32, conversation & 0xFFFFFFFF
        if low in expected.accounts or high in expected.accounts:
            assert [(m.conversation_seq, m.text, m.time_us) for m in got] == messages
            for message in got:
                assert {message.author_id, message.recipient_id} <= {low, high}
                assert message.author_deleted == (message.author_id not in expected.accounts)
        else:
            assert got == []
    for account_id in names.keys() | inboxes.keys():
        account = expected.accounts.get(account_id)
        cursor = 0 if account is None else account.cursor
        got = directory.state.read_inbox(account_id, 0, 1_000_000)
        if account is None:
            assert got == []
        else:
            assert [(m.inbox_seq, m.text) for m in got] == [
                (seq, text) for seq, text in inboxes.get(account_id, []) if seq > cursor
            ]


def kill_at_some_time(workload: ModuleType, path: Path, rng: random.Random) -> int:
    """Let a process work, kill it, and return the last log index that it acknowledged."""
    command = [sys.executable, workload.__file__, str(path), str(rng.randrange(1 << 30))]
    acknowledged = 0
    environment = {**os.environ, "PYTHONPATH": str(Path(chatsvc.__file__).parents[1])}  # the same code as here
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for _ in range(rng.randint(1, 24)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        for line in process.stdout:
            if line.endswith("\n"):
                acknowledged = int(line)
    return acknowledged


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_processes_lose_nothing_that_they_acknowledged(
    open_directory: Open, workload: ModuleType, tmp_path: Path
) -> None:
    rng = random.Random(20)
    lagging = 0
    for kill in range(KILLS):
        path = tmp_path / f"data-{kill // KILLS_A_DIRECTORY}"
        acknowledged = kill_at_some_time(workload, path, rng)
        directory = open_directory(path)
        applied_index = directory.state.load().applied_index
        replica = workload.Replica(directory)
        assert directory.log.last_index >= acknowledged
        assert applied_index <= directory.log.last_index
        lagging += applied_index < directory.log.last_index
        assert_same(replica.state, workload.replayed(directory))
        replica.flush()
        assert_tables_hold(directory, workload)
        directory.close()
    assert lagging > KILLS // 4, "most kills find a state behind the log, or this test proves little"


@pytest.mark.parametrize("seed", range(12))
def test_a_state_flushed_at_any_moment_and_loaded_again_is_the_state_of_the_log(
    open_directory: Open, workload: ModuleType, seed: int
) -> None:
    rng = random.Random(seed)
    replica = workload.Replica(open_directory())
    snapshot = None
    for _ in range(120):
        replica.carry_out(list(workload.random_commands(rng, replica.state)))
        store = replica.directory.state
        match rng.randrange(12):
            case 0 | 1 if snapshot is None:
                snapshot = replica.begin_flush()
            case 2 | 3 if snapshot is not None:
                store.flush(snapshot)
                store.finish_flush(snapshot)
                snapshot = None
            case 4 if snapshot is None:
                replica.flush()
            case 5 if rng.random() < 0.4:
                replica.directory.close()
                replica = workload.Replica(open_directory())
                snapshot = None
    if snapshot is not None:
        replica.directory.state.flush(snapshot)
        replica.directory.state.finish_flush(snapshot)
    assert_same(replica.state, workload.replayed(replica.directory))
    replica.flush()
    assert_tables_hold(replica.directory, workload)
