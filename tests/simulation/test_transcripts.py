"""Every transcript in `testdata` comes out as it is written there. `--rewrite` writes it anew."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.simulation.script import Script, read, write

FOLDER = Path(__file__).parent / "testdata"
FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_it_comes_out_as_written(file: Path, request: pytest.FixtureRequest) -> None:
    blocks = read(file.read_text())
    script = Script(file.stem)
    logging.disable(logging.CRITICAL)
    try:
        played = write(script.run(blocks))
    finally:
        logging.disable(logging.NOTSET)
    if request.config.getoption("--rewrite", default=False):
        file.write_text(played)
    assert not script.world.violations, "\n".join([*script.world.trace[-40:], *script.world.violations])
    assert played == file.read_text(), (
        "it comes out otherwise; if that is right, run with --rewrite and review the diff"
    )


def test_there_are_enough_and_each_says_what_it_shows() -> None:
    assert len(FILES) >= 25
    assert all(file.read_text().startswith("# ") for file in FILES)
