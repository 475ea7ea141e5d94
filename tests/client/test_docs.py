"""The examples of docs/client.md run, one after the other, against one server."""

import re
from pathlib import Path
from typing import Any

import pytest

import chatsvc.client

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_examples_run(
    server_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHATSVC_SERVERS", server_process.address)
    assert len(EXAMPLES) == 4
    for example in EXAMPLES:
        exec(compile(example, str(PAGE), "exec"), {"__name__": "example"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" alice: hello")
    assert lines[1:3] == ["1000", "note 0"]
    assert "there is no account 'nobody'" in lines
    assert lines[-5:] == [
        "alice False",
        "10998 note 9997",
        "10999 note 9998",
        "11000 note 9999",
        f"{server_process.address} primary",
    ]


@pytest.mark.parametrize("name", [name for name in chatsvc.client.__all__ if not name.startswith("_")])
def test_all_that_is_public_has_a_docstring(name: str) -> None:
    thing = getattr(chatsvc.client, name)
    if callable(thing):
        assert thing.__doc__, name
        for method in vars(thing) if isinstance(thing, type) else ():
            if not method.startswith("_") and callable(getattr(thing, method)):
                assert getattr(thing, method).__doc__, f"{name}.{method}"


@pytest.mark.parametrize(
    "name", [name for name in chatsvc.client.__all__ if isinstance(getattr(chatsvc.client, name), type)]
)
def test_every_error_is_in_the_table(name: str) -> None:
    if issubclass(getattr(chatsvc.client, name), Exception):
        assert f"| `{name}`" in PAGE.read_text()
