"""Every named point is in the program, and does what it is told."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import chatsvc
from chatsvc import failpoints

SOURCE = Path(chatsvc.__file__).parent


def reach(setting: str, *names: str) -> subprocess.CompletedProcess[str]:
    """A program that comes to these points."""
    calls = "\n".join(f"failpoints.reach({name!r})" for name in names)
    return subprocess.run(
        [sys.executable, "-c", f"from chatsvc import failpoints\nprint(failpoints.ON)\n{calls}\nprint('end')"],
        env={failpoints.VARIABLE: setting, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_point_is_in_the_program_and_guarded() -> None:
    found = []
    for path in SOURCE.rglob("*.py"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if (match := re.search(r'failpoints\.reach\("(\w+)"\)', line)) and path.name != "failpoints.py":
                assert "if failpoints.ON" in lines[number - 1], (path, number)
                found.append(match[1])
    assert sorted(found) == sorted(failpoints.NAMES)
    assert len(found) >= 25


def test_without_the_variable_all_are_off() -> None:
    done = reach("", *failpoints.NAMES)
    assert (done.stdout, done.stderr, done.returncode) == ("False\nend\n", "", 0)


def test_a_crash_is_as_by_kill_9_at_the_nth_time() -> None:
    done = reach("turn=crash@2", "turn", "saved", "turn")
    assert (done.returncode, done.stderr) == (-9, "failpoint turn: crash\n")
    assert reach("turn=crash@3", "turn", "saved", "turn").returncode == 0


def test_a_point_acts_once() -> None:
    done = reach("turn=sleep:1@2", "turn", "turn", "turn", "turn")
    assert (done.stdout, done.stderr) == ("True\nend\n", "failpoint turn: sleep:1\n")


def test_an_error_is_one_of_input_and_output() -> None:
    assert "OSError: [Errno 5] failpoint saved" in reach("saved=error", "saved").stderr


@pytest.mark.parametrize("setting", ["nowhere=crash", "turn", "turn=sleep", "turn=crash:5", "turn=crash@x", "turn=die"])
def test_what_is_no_failpoint_is_refused(setting: str) -> None:
    done = reach(setting)
    assert done.returncode == 1
    assert f"CHATSVC_FAILPOINTS: '{setting}' is no failpoint" in done.stderr
