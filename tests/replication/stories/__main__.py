"""`python -m tests.replication.stories [--rewrite] [NAME ...]`; without names all."""

from __future__ import annotations

import difflib
import sys

from chatsvc.replication import ALL
from tests.replication.stories.runner import rewritten, stories


def main(arguments: list[str]) -> int:
    rewrite = "--rewrite" in arguments
    off = [argument.removeprefix("--without=") for argument in arguments if argument.startswith("--without=")]
    names = [argument for argument in arguments if not argument.startswith("--")]
    different = 0
    for path in stories():
        if names and path.stem not in names:
            continue
        old = path.read_text()
        new = rewritten(old, ALL.without(*off))
        if old != new:
            different += 1
            print(f"{'rewritten' if rewrite else 'differs'}: {path.name}")
            if rewrite:
                path.write_text(new)
            else:
                print("\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), "stored", "now", lineterm="")))
    return 1 if different and not rewrite else 0


sys.exit(main(sys.argv[1:]))
