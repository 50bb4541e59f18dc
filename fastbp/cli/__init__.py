"""The command `fastbp`, a thin layer over the library. Each subcommand has a module of its own."""

import io
import sys

import click

from fastbp import __version__
from fastbp.cli import bench, evaluate, explain, export, info, predict, train
from fastbp.cli.check import command as check_command
from fastbp.cli.help_texts import Context
from fastbp.errors import OTHER_NAMES, DivergedError, InputError, RankError
from fastbp.files.outputs import STOPPED, OutputError, Outputs, discard_unwritten


# Help texts are arguments, because `python -OO` removes docstrings.
@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Train fully connected networks fast, with code that reads like the equations of backpropagation.",
)
@click.version_option(__version__, prog_name="fastbp")
def fastbp() -> None:
    """Run the command `fastbp`."""


fastbp.context_class = Context
for command in (
    train.train, evaluate.evaluate, predict.predict, export.export, explain.explain, info.info,
    check_command.check, bench.bench,
):  # fmt: skip
    command.context_class = Context
    fastbp.add_command(command)


def main() -> None:
    """Run the command and exit. An error is reported in one line on standard error, and the exit code is 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for paths that are not UTF-8, and for ASCII terminals
    try:
        sys.exit(_exit_code())
    finally:
        discard_unwritten()


def _exit_code() -> int:
    """Run the command and return its exit code; some subcommands exit with their own code instead."""
    outputs = Outputs()
    try:
        fastbp.main(prog_name="fastbp", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        outputs.print(error.format_message())
    except click.NoSuchOption as error:
        outputs.failed(InputError(_our_name(error) or _with_usage(error)))
    except click.MissingParameter as error:
        outputs.failed(InputError(_with_usage(error)))
    except click.ClickException as error:
        outputs.failed(InputError(error.format_message()))
    except (InputError, DivergedError, RankError, OutputError, OSError) as error:
        outputs.failed(error)
    except (click.Abort, KeyboardInterrupt):
        return STOPPED
    return outputs.code


def _with_usage(error: click.UsageError) -> str:
    """Return the message of an error and how the command is used, or the options with similar names."""
    message = error.format_message()
    if error.ctx is None or getattr(error, "possibilities", None):
        return message
    return f"{message.rstrip('.')}; {' '.join(error.ctx.get_usage().split())}".replace("; Usage:", "; usage:")


def _our_name(error: click.NoSuchOption) -> str | None:
    """Return a message with fastbp's name for an option that other programs call by another name.

    The message is None if fastbp has no such option.
    """
    ours = OTHER_NAMES.get(error.option_name.lstrip("-").replace("-", "_"))
    option = {"rng": "--seed"}.get(ours or "", f"--{ours}".replace("_", "-"))
    known = [name for parameter in error.ctx.command.params for name in parameter.opts] if error.ctx else []
    return f"{error.option_name}: fastbp calls it {option}" if option in known else None
