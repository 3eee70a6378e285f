"""`raftchaos validate`: checks files without a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from raftchaos.cli.files import FILES, read_documents
from raftchaos.cli.options import output_option


@click.command("validate")
@FILES
@output_option
def command(files: tuple[Path, ...], output: str) -> None:
    """Check FILES without a cluster: every problem at once, each with its line.

    Steps may use the scenarios of any of the files. `-` reads standard input.

    \b
    Example:
      raftchaos validate experiment.yaml scenarios.yaml
    """
    from raftchaos.cli.output import plain, show, table
    from raftchaos.model.loading import resolve

    documents = read_documents(files)
    resolve(documents)
    found = [{"file": d.origin.file, "kind": d.kind, "name": d.name, "valid": True} for d in documents]
    rows = table("file", "kind", "name")
    for one in found:
        rows.add_row(plain(one["file"]), plain(one["kind"]), plain(one["name"]))
    count = "1 document is valid" if len(found) == 1 else f"{len(found)} documents are valid"
    show(output, {"documents": found}, rows, count)
