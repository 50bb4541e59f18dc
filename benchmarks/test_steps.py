"""Steps of training, by backend: 2,000 examples in mini-batches, all that is needed being there already."""

import time

import pytest

from benchmarks.nets import NETS, made_ready, name

EXAMPLES = 2_000  # by mini-batches: a call from Python, which takes a tenth of a millisecond, is shared by many steps


@pytest.mark.parametrize("net", NETS, ids=name)
def test_steps(benchmark, net, data, dtype, backend):
    sizes, m = net
    benchmark.group = f"steps, {name(net)}, {dtype}"
    start = time.perf_counter()
    ready = made_ready(sizes, m, data, max(1, min(EXAMPLES, len(data.images)) // m), dtype, backend)
    backend.synchronize()
    benchmark.extra_info.update(
        steps=len(ready.arguments[5]) // m,
        examples=len(ready.arguments[5]),
        transferred_bytes=ready.transferred,
        transfer_and_setup_seconds=time.perf_counter() - start,
    )
    benchmark.pedantic(ready.train, rounds=9, warmup_rounds=1)
    assert 0 < backend.read_cost_total(ready.arguments[-1]) < float("inf")
