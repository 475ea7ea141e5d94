"""Stories: schedules written out as text, with what the cluster does in answer.

A story is a `.txt` file in this folder. Lines up to `----` are commands, lines after it up to the next empty
line are what they print; lines that begin with `#` explain. `runner` says what each command means.

    python -m tests.replication.stories              runs all and shows differences
    python -m tests.replication.stories --rewrite    writes what the stories print now; review the diff
"""
