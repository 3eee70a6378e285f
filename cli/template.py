"""`raftchaos template`: prints an example document to start from."""

from __future__ import annotations

import click

from raftchaos.cli.options import output_option


@click.command("template")
@click.argument("name", required=False)
@click.option("--list", "list_", is_flag=True, help="List the templates instead.")
@output_option
def command(name: str | None, list_: bool, output: str) -> None:
    """Print the example document NAME, ready to run; default: parallel.

    \b
    Example:
      raftchaos template sequential > experiment.yaml
      raftchaos template --list
    """
    from raftchaos.cli.output import emit, show
    from raftchaos.model.templates import TEMPLATES, template

    if list_:
        show(output, {"templates": list(TEMPLATES)}, "\n".join(TEMPLATES))
        return
    text = template(name) if name else template()
    if output == "json":
        from raftchaos.model.loading import load_documents

        documents = load_documents(text, "template")
        show(output, [document.data for document in documents] if len(documents) > 1 else documents[0].data)
    else:
        emit(text)  # with its comments
