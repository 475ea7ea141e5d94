"""Tests of chatsvc.

Programs that are started here take signals as in a terminal, however the tests were started: what `nohup` or a shell's
background has a process ignore, its children would ignore, too.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
