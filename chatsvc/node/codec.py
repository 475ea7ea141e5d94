"""Commands as the payload of a log entry, and back."""

from collections.abc import Sequence

import msgspec

from chatsvc.domain.commands import Command

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[Command]])


def encode_commands(time_us: int, commands: Sequence[Command]) -> bytes:
    """Payload of an entry of kind OP: the entry's time and its commands."""
    return _encoder.encode((time_us, commands))


def decode_commands(payload: bytes) -> tuple[int, list[Command]]:
    """(time in microseconds since the epoch, commands) of an entry of kind OP.

    Raises:
        msgspec.ValidationError: a command of a newer version, or bytes that are none.
    """
    return _decoder.decode(payload)
