"""Several ranks with a GPU each, without a GPU: threads are the ranks, and a stand-in sums as NCCL would."""

import numpy as np
import pytest
from thread_ranks import on_threads

from fastbp.backends.cupy import rank_sums
from fastbp.errors import InputError


def gpu(index, without_nccl=False):
    """Return a backend on a stand-in for the GPU with this number, which sums over ranks in place."""
    from gpu_stand_in import StandIn

    backend = StandIn()
    device = backend.device

    def connect_nccl(comm):
        def all_reduce(array):
            device.calls.append("all-reduce")
            array[...] = sum(comm.allgather(array.copy()))

        return all_reduce

    device.bus_id = lambda: str(index)
    device.why_no_nccl = lambda: "there is no NCCL" if without_nccl else ""
    device.connect_nccl = connect_nccl
    return backend


def trained(backend, comm, optimizer):
    import fastbp

    rng = np.random.default_rng(1)
    x, y = rng.random((5, 25)), rng.integers(0, 3, 25)
    net = fastbp.Network([5, 4, 3], dtype="float64", rng=0, backend=backend)
    options = {} if optimizer == "lbfgs" else {"mini_batch_size": 8, "dropout": 0.2}
    net.train(x, y, epochs=2, lmbda=0.1, optimizer=optimizer, comm=comm, progress=False, **options)
    return np.concatenate([np.ravel(array) for array in (*net.weights, *net.biases)])


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ranks_train_as_on_one_process_with_one_sum_in_a_step(optimizer):
    """25 examples in mini-batches of 8: the last one has one example, so one of the two ranks has none."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
    backends = [gpu(0), gpu(1)]
    found = on_threads(2, lambda rank: trained(backends[rank.index], rank, optimizer))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], trained("numpy", None, optimizer), rtol=0, atol=1e-12)
    calls = backends[0].device.calls
    assert calls.count("all-reduce") == 8  # two epochs of four mini-batches
    first, second = [at for at, call in enumerate(calls) if call == "all-reduce"][:2]
    assert "download" not in calls[first:second]


@pytest.mark.cuda
def test_lbfgs_sums_on_the_host():
    """SciPy needs the gradient on the host, so it is summed there."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
    backends = [gpu(0), gpu(1)]
    found = on_threads(2, lambda rank: trained(backends[rank.index], rank, "lbfgs"))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], trained("numpy", None, "lbfgs"), rtol=0, atol=1e-12)
    assert "all-reduce" not in backends[0].device.calls


@pytest.mark.cuda
def test_without_nccl_ranks_sum_on_the_host_and_say_so_once(caplog):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
    found = on_threads(2, lambda rank: trained(gpu(rank.index, without_nccl=True), rank, "sgd"))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], trained("numpy", None, "sgd"), rtol=0, atol=1e-12)
    assert [record.message for record in caplog.records] == [
        "ranks sum by MPI, with copies on the host, because there is no NCCL"
    ]


def test_the_gpu_of_a_rank(monkeypatch):
    for name in rank_sums._LOCAL_RANKS:
        monkeypatch.delenv(name, raising=False)
    assert rank_sums.local_gpu(1) == 0
    with pytest.raises(InputError, match="needs a launcher that sets one of MPI_LOCALRANKID"):
        rank_sums.local_gpu(4)
    for name in rank_sums._LOCAL_RANKS:
        with monkeypatch.context() as patch:
            patch.setenv(name, "3")
            assert [rank_sums.local_gpu(count) for count in (8, 4, 1)] == [3, 3, 0]


def test_ways_to_sum():
    nccl = [("a", "0", "", False), ("a", "1", "", False), ("b", "0", "", False)]
    assert rank_sums.choose_way(nccl) == ("NCCL", "")
    without = [(host, number, "no NCCL", True) for host, number, _, _ in nccl]
    assert rank_sums.choose_way(without) == ("CUDA-aware MPI", "no NCCL")
    assert rank_sums.choose_way([*without[:2], nccl[2]]) == ("MPI, with copies on the host", "no NCCL")
