"""Commands survive the log, and those of a newer program with more fields at the end are understood."""

from typing import get_args

import msgspec
import pytest

from chatsvc.domain.commands import AdvanceCursors, Command, DeleteAccount, OpenSession, RetireClient, Sends

CLIENT_ID = bytes(range(16))

COMMANDS: list[Command] = [
    OpenSession("\u00e9lise", CLIENT_ID, True, False, 3, 2**62),
    Sends(CLIENT_ID, 5, 4, True, [("bob", "hi"), ("eve", "\U0001f600\n"), ("bob", "")], {2: (2, 1_501)}),
    Sends(CLIENT_ID, 1, 0, False, []),
    DeleteAccount(CLIENT_ID, 9),
    AdvanceCursors([(1, 2), (2**31 - 1, 2**40)]),
    RetireClient(CLIENT_ID),
]


def test_every_command_survives_the_log() -> None:
    assert {type(command) for command in COMMANDS} == set(get_args(Command))
    encoded = msgspec.msgpack.encode(COMMANDS)
    assert msgspec.msgpack.decode(encoded, type=list[Command]) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_field_added_at_the_end_is_passed_over(command: Command) -> None:
    newer = msgspec.msgpack.encode([[*_all_fields(command), {"more": [1]}]])
    assert msgspec.msgpack.decode(newer, type=list[Command]) == [command]


def _all_fields(command: Command) -> list[object]:
    tag = type(command).__struct_config__.tag
    return [tag, *(getattr(command, field) for field in command.__struct_fields__)]


def test_sends_logged_before_refused_existed_have_none() -> None:
    encoded = msgspec.msgpack.encode([["send", CLIENT_ID, 1, 0, True, [["bob", "hi"]]]])
    assert msgspec.msgpack.decode(encoded, type=list[Command]) == [Sends(CLIENT_ID, 1, 0, True, [("bob", "hi")])]


def test_an_unknown_command_is_an_error_and_not_passed_over() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode([["later", 1]]), type=list[Command])
