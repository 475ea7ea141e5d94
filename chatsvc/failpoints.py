"""Named points of a server at which a test can have it die, stand still or meet an error.

`CHATSVC_FAILPOINTS=NAME=ACTION[@N][,...]` is read once when the program starts. ACTION is `crash` (as by kill -9),
`sleep:MS` (the thread, which for most points is the event loop, stands still) or `error` (an I/O error is raised), at
the N-th time that the point is reached, the first by default, and never again. What happens is said on stderr.

Without the variable a point costs one look at `ON`:

    if failpoints.ON:
        failpoints.reach("reply_before")
"""

import errno
import os
import signal
import time
from collections.abc import Mapping

VARIABLE = "CHATSVC_FAILPOINTS"

NAMES: Mapping[str, str] = {
    "acknowledgements_before": "cursors of recipients are about to go into the log",
    "answer_before_write": "a frame with answers and messages is about to be written to a client",
    "answer_after_write": "it was",
    "apply_before": "an entry is committed and not applied",
    "checkpoint_before": "the WAL of the log is about to be brought into the database",
    "checkpoint_after": "it was",
    "config_file_before": "a CONFIG is in the log, the small file beside it is older",
    "config_file_after": "both are on the disk",
    "directory_before_databases": "a new directory has an identity and nothing else",
    "directory_before_complete": "it has databases and is not marked as complete",
    "file_before_sync": "a small file was written and not synced",
    "file_before_rename": "it was synced and is not in place",
    "file_before_directory_sync": "it is in place, its name not synced",
    "listening": "the port is open, no role was taken yet",
    "log_before_write": "entries came and are not on the disk",
    "log_after_write": "entries are on the disk and nobody knows",
    "promise_before_commit": "a promise was written and not committed",
    "promise_after_commit": "a promise is on the disk and no vote was sent",
    "propose_before": "commands are about to become an entry",
    "replay": "the log is about to be applied again",
    "reply_before": "an entry is committed and applied, no client was told",
    "reply_after": "all clients concerned were told",
    "saved": "the event loop hears that entries are on the disk; nothing was acknowledged",
    "send_before": "messages to other servers are about to be sent",
    "send_after": "they were",
    "serving_before": "a new primary is sure of itself, no client was let in",
    "serving_after": "clients were let in",
    "start_counted": "this start is on the disk, the log was verified",
    "state_before_write": "the tables are about to follow the log",
    "state_before_commit": "they were written and not committed",
    "state_after_commit": "they were committed",
    "truncate_before": "the end of the log is about to be removed",
    "truncate_before_commit": "it was, in a transaction that is not committed",
    "turn": "the replica is about to take what has come",
}
"""All points, and what is the case when they are reached."""


class _Trap:
    def __init__(self, action: str, times: int) -> None:
        self.action, self.left = action, times


def _parse(text: str) -> dict[str, _Trap]:
    traps = {}
    for item in filter(None, text.split(",")):
        name, _, rest = item.partition("=")
        action, _, times = rest.partition("@")
        kind, _, milliseconds = action.partition(":")
        if (
            name not in NAMES
            or kind not in ("crash", "sleep", "error")
            or (kind == "sleep") != milliseconds.isdigit()
            or not (times or "1").isdigit()
        ):
            raise SystemExit(f"chatsvc: {VARIABLE}: {item!r} is no failpoint: NAME=crash|error|sleep:MS[@N]")
        traps[name] = _Trap(action, int(times or "1"))
    return traps


_traps = _parse(os.environ.get(VARIABLE, ""))

ON = bool(_traps)
"""Whether any point does anything."""


def reach(name: str) -> None:
    """The program has come to that point. From any thread.

    Raises:
        OSError: if that is what is to happen.
    """
    assert name in NAMES, name
    trap = _traps.get(name)
    if trap is None:
        return
    trap.left -= 1
    if trap.left:
        return
    os.write(2, f"failpoint {name}: {trap.action}\n".encode())
    kind, _, milliseconds = trap.action.partition(":")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "sleep":
        time.sleep(int(milliseconds) / 1_000)
    else:
        raise OSError(errno.EIO, f"failpoint {name}")
