"""Time steps of training on each backend: 2,000 examples in mini-batches, with all data already on the backend."""

import time

import pytest

from benchmarks.nets import NETS, name, prepare

EXAMPLES = 2_000  # so that many steps share the 0.1 ms of a call from Python


@pytest.mark.parametrize("net", NETS, ids=name)
def test_steps(benchmark, net, data, dtype, backend):
    sizes, m = net
    benchmark.group = f"steps, {name(net)}, {dtype}"
    start = time.perf_counter()
    training = prepare(sizes, m, data, max(1, min(EXAMPLES, len(data.images)) // m), dtype, backend)
    backend.synchronize()
    benchmark.extra_info.update(
        steps=len(training.arguments[5]) // m,
        examples=len(training.arguments[5]),
        transferred_bytes=training.transferred,
        transfer_and_setup_seconds=time.perf_counter() - start,
    )
    benchmark.pedantic(training.train, rounds=9, warmup_rounds=1)
    assert 0 < backend.read_cost_total(training.arguments[-1]) < float("inf")
