"""Sums over the ranks of a training, each of which has a GPU, and the GPU that is a rank's own.

NCCL sums on the current stream, from GPU to GPU. Where it cannot be used, MPI sums: it reads the memory of the GPUs
itself if it was built for that, and copies on the host otherwise.
"""

import ctypes
import logging
import os
import platform
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.errors import InputError

Array = Any
NCCL, CUDA_AWARE, HOST = "NCCL", "CUDA-aware MPI", "MPI, with copies on the host"
_LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "PALS_LOCAL_RANKID")


def sum_in_place(device: Any, comm: Any, block: Array) -> Callable[[], None]:
    """Return a function that replaces a block on each rank's GPU by its sum over the ranks of a communicator.

    Every rank has to call this function. The first rank logs once how the ranks sum, if it is not by NCCL.
    """
    way, reason = choose_way(comm.allgather((platform.node(), device.bus_id(), *_abilities(device))))
    if way == NCCL:
        reduce = device.connect_nccl(comm)
        return lambda: reduce(block)
    if comm.Get_rank() == 0:
        logging.getLogger("fastbp").warning(f"ranks sum by {way}, because {reason}")

    def sum_by_mpi() -> None:
        device.synchronize()
        comm.Allreduce(_in_place(), block)

    def sum_on_host() -> None:
        own = device.to_host(block)
        total = np.empty_like(own)
        comm.Allreduce(own, total)
        block[...] = device.upload(total)

    return sum_by_mpi if way == CUDA_AWARE else sum_on_host


def choose_way(ranks: list[tuple[str, str, str, bool]]) -> tuple[str, str]:
    """Return how ranks sum, and why not by NCCL. Each rank has a host, a GPU, and what it can do.

    >>> choose_way([("a", "0", "", False), ("a", "1", "", False)])
    ('NCCL', '')
    >>> choose_way([("a", "0", "", False), ("a", "0", "", True)])
    ('MPI, with copies on the host', 'two ranks share a GPU; pass backend="cupy:local", and start one rank per GPU')
    """
    reasons = [reason for _, _, reason, _ in ranks if reason]
    if len({(host, gpu) for host, gpu, _, _ in ranks}) < len(ranks):
        reasons.insert(0, 'two ranks share a GPU; pass backend="cupy:local", and start one rank per GPU')
    if not reasons:
        return NCCL, ""
    return CUDA_AWARE if all(aware for *_, aware in ranks) else HOST, reasons[0]


def local_gpu(count: int) -> int:
    """Return the number of this rank's GPU, one of `count` on its node, for the backend "cupy:local".

    The number comes from the rank on the node, which the launcher sets in the environment. If a launcher lets each rank
    see only one GPU, this is number 0.
    """
    found = [int(os.environ[name]) for name in _LOCAL_RANKS if os.environ.get(name, "").isdecimal()]
    if not found and count > 1:
        names = ", ".join(_LOCAL_RANKS)
        raise InputError(f"backend 'cupy:local' needs a launcher that sets one of {names}; or pass a number: 'cupy:1'")
    return found[0] % count if found else 0


def is_cuda_aware() -> bool:
    """Return whether the MPI library of mpi4py can read the memory of GPUs."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return False
    library = ctypes.CDLL(MPI.__file__)
    if hasattr(library, "MPIX_Query_cuda_support"):  # Open MPI
        return bool(library.MPIX_Query_cuda_support())
    if hasattr(library, "MPIX_GPU_query_support"):  # MPICH; 0 means CUDA
        supported = ctypes.c_int(0)
        return library.MPIX_GPU_query_support(0, ctypes.byref(supported)) == 0 and bool(supported.value)
    return False


def _abilities(device: Any) -> tuple[str, bool]:
    return device.why_no_nccl(), is_cuda_aware()


def _in_place() -> Any:
    from mpi4py import MPI

    return MPI.IN_PLACE
