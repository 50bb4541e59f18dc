"""`fastbp info`."""

import click

from fastbp.files.outputs import print_line


@click.command(
    short_help="Show versions, BLAS and available backends.",
    help="Show versions, BLAS, threads, the cache of compiled code, and the available backends.",
)
def info() -> None:
    """Print facts about the installation, one per line."""
    from fastbp.backends.environment import information

    for name, value in information().items():
        print_line(f"{name:<26} {value}")
