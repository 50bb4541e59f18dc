"""Save the ratios of a benchmark, and compare them with those of an earlier run, for example of the previous commit.

The speed of a machine changes: the same epoch took three times as long a few hours later. So seconds of two runs cannot
be compared, but ratios can, if both sides of a ratio are timed in turn. Here, each ratio is fastbp's time divided by
the time of other code, which does not change when fastbp changes.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from fastbp.bench.timing import Spread
from fastbp.files.atomic import write_atomically

Ratios = Mapping[str, Spread]
"""Ratios, by the name of what was timed. A smaller ratio is better."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options --json and --baseline."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the ratios of this run")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="--json of an earlier run, to compare with")


def checked(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Ratios:
    """Return the ratios in the baseline file, or {} without one. If a file cannot be used, print a line and exit."""
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json must be in a folder that exists, got {options.json}")
    if options.baseline is None:
        return {}
    try:
        saved = json.loads(options.baseline.read_bytes())
        return {name: Spread(**figures) for name, figures in saved.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        parser.error(f"--baseline must be a file written with --json: {error}")


def finish(options: argparse.Namespace, before: Ratios, now: Ratios) -> bool:
    """Save the ratios if asked for, print what has changed, and return whether something has become slower."""
    if options.json:
        with write_atomically(options.json) as file:
            file.write(json.dumps({name: asdict(figures) for name, figures in now.items()}, indent=1).encode())
    common = [name for name in now if name in before]
    if options.baseline:
        print(f"\nratios before and now; a change is named if the quartiles are apart ({len(common)} compared)")
    for name in common:
        print(line(name, before[name], now[name]))
    return any(before[name].below(now[name]) for name in common)


def line(name: str, before: Spread, now: Spread) -> str:
    """Return a line of the comparison, for 80 columns if the name has at most 50 characters.

    >>> line("net.cost", Spread(1.0, 0.9, 1.1, 9), Spread(1.3, 1.2, 1.4, 9))
    'net.cost                                             1.00   1.30  slower'
    """
    change = "slower" if before.below(now) else "faster" if now.below(before) else ""
    return f"{name:50} {before.median:6.2f} {now.median:6.2f}  {change}".rstrip()


def inverse(figures: Spread) -> Spread:
    """Return the spread of the inverse ratios.

    >>> inverse(Spread(2.0, 1.0, 4.0, 5))
    Spread(median=0.5, low=0.25, high=1.0, repeats=5)
    """
    return Spread(1 / figures.median, 1 / figures.high, 1 / figures.low, figures.repeats)
