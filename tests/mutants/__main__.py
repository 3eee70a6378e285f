"""`make mutants`: switches each protecting mechanism off, one at a time, and shows which test notices.

    python -m tests.mutants [NAME ...]

A mutant is one change of the text of one file in a copy of the checkout. It is *caught* if the named tests fail with
it and pass without it; a mechanism that can be removed unnoticed is not proven. Exit code 1 if one survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300


def copy_checkout(target: Path) -> None:
    """Everything that git tracks, as it is in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        source, copy = ROOT / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copy.symlink_to(os.readlink(source))
        elif source.exists():
            shutil.copy2(source, copy)


def passes(checkout: Path, tests: tuple[str, ...]) -> tuple[bool, str]:
    """Whether these tests pass in the checkout, and the first that did not."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout", "120", *tests]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            words, cwd=checkout, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return False, "timed out"
    if done.returncode not in (0, 1):
        raise SystemExit(f"the tests {' '.join(tests)} could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode == 0, failed[0].partition(" ")[2] if failed else ""


def try_mutant(mutant: Mutant, checkout: Path) -> str:
    """The test that caught it; empty if none did."""
    path = checkout / mutant.file
    original = path.read_text()
    if original.count(mutant.old) != 1:
        raise SystemExit(f"mutant {mutant.name}: its text stands {original.count(mutant.old)} times in {mutant.file}")
    path.write_text(original.replace(mutant.old, mutant.new))
    try:
        passed, first = passes(checkout, mutant.tests)
        return "" if passed else first or "?"
    finally:
        path.write_text(original)


def main(names: list[str]) -> int:
    """Try the named mutants, or all, and print the table."""
    wanted = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    survived = []
    with tempfile.TemporaryDirectory(prefix="raftchaos-mutants-") as folder:
        checkout = Path(folder)
        copy_checkout(checkout)
        tests = tuple(sorted({test for mutant in wanted for test in mutant.tests}))
        passed, first = passes(checkout, tests)
        if not passed:
            raise SystemExit(f"without any mutant the tests do not pass: {first}")
        print(f"{'mechanism':34} {'seconds':>7}  caught by")
        for mutant in wanted:
            began = time.monotonic()
            caught = try_mutant(mutant, checkout)
            if not caught:
                survived.append(mutant.name)
            print(f"{mutant.name:34} {time.monotonic() - began:7.1f}  {caught or 'NOBODY'}", flush=True)
    print(f"{len(wanted)} mutants, {len(survived)} survived{': ' + ', '.join(survived) if survived else ''}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
