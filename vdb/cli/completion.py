"""``vdb completion``: the script that a shell completes commands and options with."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  vdb completion bash > ~/.local/share/bash-completion/completions/vdb
    zsh:   vdb completion zsh > "${fpath[1]}/_vdb"
    fish:  vdb completion fish > ~/.config/fish/completions/vdb.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows all three"
    click.echo(kind(ctx.find_root().command, {}, "vdb", "_VDB_COMPLETE").source())
