"""Run `fastbp check` on the second device: `python stub_machine.py stub_selftest`."""

import sys

from stub_machine import MACHINE

from fastbp.cli import main
from fastbp.training import loop


def check() -> int:
    """Return the exit code of the command, or 1 if a device but the second was used, or if no graph was launched."""
    loop._SECONDS_PER_CALL = 1e6  # so that steps are replayed although the interpreter is slow
    sys.argv = ["fastbp", "check", "--backend", "cupy:1"]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    names, devices = ({entry[i] for entry in MACHINE.log()} for i in (0, 1))
    if devices != {1} or "cudaGraphLaunch" not in names:
        print(f"devices {devices} were used, and these functions called: {', '.join(sorted(names))}")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(check())
