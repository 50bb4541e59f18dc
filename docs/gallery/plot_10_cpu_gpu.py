"""
CPU against GPU
===============

`fastbp bench` measures each backend on the machine at hand. This example measures a few sizes in the same way, but with
fewer repetitions, and draws their chart. If there is an NVIDIA GPU, it is measured too.
"""

# %%
import contextlib
import dataclasses
import io
import tempfile
from pathlib import Path

from fastbp.bench import charts, results, run
from fastbp.bench.grid import QUICK

settings = dataclasses.replace(QUICK, seconds=0.2, max_side=1024, max_examples=2000)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "bench.json")
    with contextlib.redirect_stdout(io.StringIO()) as report, contextlib.redirect_stderr(io.StringIO()):
        run.bench(settings, (), "float32", ("64-30-10",), (1, 10, 100), path, None)
    measured = results.read_results(path)
print(report.getvalue())

# %%
# Training examples per second. The wide band is the matrix products alone.
charts.throughput(measured)
