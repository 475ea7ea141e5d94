"""The commands of `chatsvc` and how they show what they find.

Results go to stdout, one line about what went wrong to stderr. Exit status: 0 done, 1 refused, 2 wrong usage, 3 no
server or no primary; see `failures`.

Modules: `program` (all commands under one name), `options` (what commands have in common), `failures` (what is said
at the end, and the exit status), `render` (text made harmless, times, JSON), `lines` (input as it arrives), `signals`
(a clean end on SIGINT and SIGTERM), `local` (servers as processes of this machine), then one for each command.
`bench` has `measurement` (what is put together for it). `connect` is made of `menu` (what a line means), `chat` (what
is done about it), `screen` (a terminal) and `piped` (any other input).
"""

from chatsvc.cli.program import main

__all__ = ["main"]
