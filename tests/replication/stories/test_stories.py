"""Every story still goes as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replication.stories.runner import rewritten, stories


@pytest.mark.parametrize("path", stories(), ids=lambda path: path.stem)
def test_the_story_goes_as_written(path: Path) -> None:
    text = path.read_text()
    assert "VIOLATION" not in text
    assert "ASSERTION" not in text
    assert rewritten(text) == text
