"""The page of the commands, from their `--help`: docs/cli.md is never written by hand."""

from __future__ import annotations

from collections.abc import Iterator

import click

from offramp.cli.main import offramp

HEAD = """# Commands

What `--help` prints, for every command. Options override the space file. Every command has `--json`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the job failed, also by a mistake in a file that showed only after a request was sent; what it has is kept |
| 2 | usage or config error: nothing was written or spent |
| 3 | the gate refused, or a watched model needs action |
| 130 | interrupted |

"""
WIDTH = 100


def page() -> str:
    """The whole page."""
    settings = {**offramp.context_settings, "max_content_width": WIDTH, "terminal_width": WIDTH}
    context = click.Context(offramp, info_name="offramp", **settings)
    return HEAD + "\n".join(_entries(offramp, context))


def _entries(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        inner = click.Context(command, info_name=name, parent=context, max_content_width=WIDTH, terminal_width=WIDTH)
        yield f"## {inner.command_path}\n\n```text\n{command.get_help(inner)}\n```\n"
        if isinstance(command, click.Group):
            yield from _entries(command, inner)
