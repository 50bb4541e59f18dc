"""Read mutated files of every format, and check that each of them is accepted or refused correctly.

Run `PYTHONPATH=tests:tests/datasets python tests/fuzz_files.py [COUNT [SEED]]`. A file that fails is saved in the
working directory. Readers may raise `InputError` only, with one printable line of bounded length; they may not warn;
and memory must stay within the bounds stated in docs/architecture.md. The mutations depend on the seed only.
"""

import collections
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas  # noqa: F401  (imported before memory is measured)
from safetensors.numpy import load, save
from test_idx import idx

import fastbp
import fastbp.datasets
from fastbp.bench.report import report
from fastbp.bench.results import read_results
from fastbp.book import mnist_loader
from fastbp.book.json_files import read_network
from fastbp.datasets import read_examples, read_idx, read_inputs

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (12, 3, 2)).astype("u1"), np.arange(12) % 3
X, Y = RNG.random((3, 8)), np.arange(8) % 2
SPREAD = {"median": 0.5, "low": 0.4, "high": 0.6, "repeats": 5}
TRANSFERS = {"data_bytes": 72, "data_seconds": SPREAD, "epoch_bytes_to_device": 96, "epoch_bytes_from_device": 8,
             "epoch_transfers": 3}  # fmt: skip
MEASURED = {"sizes": [6, 5, 3], "mini_batch_size": 4, "examples": 12, "step_seconds": SPREAD, "epoch_seconds": SPREAD,
            "floor_seconds": SPREAD}  # fmt: skip
BENCH = {
    "kind": "fastbp-bench", "version": 1, "date": "2026-01-01T00:00:00+00:00", "command": "fastbp bench",
    "dtype": "float32", "processor": "a processor", "cores": 2, "memory_bytes": 2**33, "complete": True,
    "information": {"NumPy": "2.4"}, "no_gpu": None, "failures": [{"backend": "numpy", "what": "6-5-3", "why": "?"}],
    "machines": [{"where": "CPU", "device": "two cores", "gemm_flops_per_second": {"float32": 1e11},
                  "copy_bytes_per_second": 1e10, "launch_seconds": SPREAD, "to_device_bytes_per_second": 1e9,
                  "from_device_bytes_per_second": 1e9}],
    "measurements": [{"backend": "numpy", "where": "CPU", **MEASURED, "transfers": None},
                     {"backend": "cupy", "where": "a GPU", **MEASURED, "transfers": TRANSFERS}],
}  # fmt: skip
TOKENS = [
    *(b"9" * 400, b"1e999", b"-1", b"0", b"1", b"2147483648", b"18446744073709551616", b"0.5", b"1_0", b"1if", b"0x1"),
    *(b"NaN", b"nan", b"inf", b"null", b"true", b"None", b"[]", b"{}", b"()", b'""', b"[[", b"((", b",", b"\n", b'"'),
    *(b'"\\ud800"', b"'\\q'", b"\\", "\U0001f600".encode(), b"\xff", b"\0", b"'(9,9,9)f4'", b"'|O'", b"float16"),
]
VALUES = [
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, 5e-324, float("nan")),
    *(float("inf"), "", "a", "float64", "(9,9,9)f4", "\ud800", "\U0001f600", "a\nb", "z" * 1000, "sigmoid", "|O"),
    *([], [1], [[]], {}, {"a": 1}, [10**400], ["tanh", "sigmoid"], [3, 4, 2], list(range(300))),
]


def archive(write):
    stream = io.BytesIO()
    write(stream, x=IMAGES / 255, y=LABELS)
    return stream.getvalue()


def written(write):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


def trained(path, *, resume):
    net = fastbp.Network([3, 4, 2], rng=0, backend="numpy-plain")
    net.train(X, Y, epochs=1, mini_batch_size=4, optimizer="adam", validation=(X, Y), checkpoint=path, resume=resume,
              progress=False)  # fmt: skip


def pairs(protocol):
    parts = tuple((RNG.random((n, 2)).astype("f4"), np.arange(n)) for n in (3, 2, 1))
    return pickle.dumps(parts, protocol)


def loaded(path):
    return fastbp.load(path, backend="numpy-plain")


SEEDS = {
    "idx": [idx(IMAGES), idx(IMAGES, ">f4"), idx(LABELS.astype("u1"))],
    "idx.gz": [idx(IMAGES), idx(IMAGES, ">f8")],
    "npz": [archive(np.savez), archive(np.savez_compressed)],
    "csv": [b"\xef\xbb\xbfa,b,kind\n1,2.5,0\n3,4,1\n", b"1,2,0\n3,4,1\n", b'"1","-2"\n\n3,1e3\n'],
    "pkl.gz": [pairs(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)],
    "book.json": [json.dumps({"sizes": [2, 2], "weights": [[[0.1, -2.5], [1, 3e-8]]], "biases": [[[0.5], [1.0]]],
                              "cost": "CrossEntropyCost"}).encode()],
    "bench.json": [json.dumps(BENCH).encode()],
    "model": [written(fastbp.Network([3, 4, 2], ["tanh", "sigmoid"], rng=rng).save)
              for rng in (0, np.random.Generator(np.random.MT19937(0)), np.random.Generator(np.random.Philox(0)))],
    "checkpoint": [written(lambda path: trained(path, resume=False))],
}  # fmt: skip
READERS = {
    "idx": (read_idx, read_inputs),
    "idx.gz": (read_idx, read_inputs),
    "npz": (read_inputs, read_examples),
    "csv": (read_inputs, read_examples, fastbp.datasets.load, lambda path: read_examples(path, "kind")),
    "pkl.gz": (mnist_loader.load_data,),
    "book.json": (read_network,),
    "bench.json": (lambda path: report(read_results(path)),),
    "model": (loaded,),
    "checkpoint": (lambda path: trained(path, resume=True),),
}


def mutated(random, data):
    """Return bytes with some replaced, inserted, deleted or repeated, or with tokens or numbers inserted."""
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(data) + 1)
        place = min(place, random.randrange(200)) if random.random() < 0.3 else place
        width = random.randrange(9)
        match random.randrange(7):
            case 0:
                data[place : place + width] = random.randbytes(width)
            case 1:
                data[place : place + random.choice([0, width])] = random.choice(TOKENS)
            case 2:
                number = random.choice([0, 1, 2**7, 2**8 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**64 - 1])
                width = random.choice([1, 2, 4, 8])
                data[place : place + width] = (number % 256**width).to_bytes(width, random.choice(["big", "little"]))
            case 3:
                del data[place : place + random.choice([width, 10**9, random.randrange(100)])]
            case 4:
                data[place:place] = data[place : place + 2**width]
            case 5:
                data[place:place] = bytes([random.randrange(256)]) * random.choice([1, 10, 1000])
            case 6 if place < len(data):
                data[place] ^= 1 << random.randrange(8)
    return bytes(data)


def mutated_value(random, value):
    """Return a JSON value with one part of it replaced, deleted, added or repeated."""
    if not isinstance(value, (dict, list)) or not value or random.random() < 0.1:
        return random.choice(VALUES)
    value = value.copy()
    key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
    kind = random.random()
    if kind < 0.1:
        del value[key]
    elif kind < 0.2 and isinstance(value, dict):
        value[random.choice(["a", "", "\ud800", "k" * 1000, *value])] = random.choice(VALUES)
    elif kind < 0.2:
        value.append(value[key])
    else:
        value[key] = mutated_value(random, value[key])
    return value


def split(data):
    """Return the tensors of a file, and its description without the checksum."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    description = json.loads(header["__metadata__"]["fastbp"])
    del description["sha256"]
    return load(data), description


def joined(tensors, description):
    """Return a file of tensors and a description, with a valid checksum."""
    digest = hashlib.sha256(json.dumps(description).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    if isinstance(description, dict):
        description = {**description, "sha256": digest.hexdigest()}
    return save(tensors, {"fastbp": json.dumps(description)})


def mutated_tensors(random, data):
    """Return a file of tensors with a mutated description and a valid checksum."""
    tensors, description = split(data)
    if random.random() < 0.2:
        tensors[random.choice(["a", "best.a", "k" * 1000, *tensors])] = random.choice(
            [np.ones((1,) * 60), np.ones((0, 3)), np.full((4, 3), np.nan), np.ones((4, 3), np.float16), np.ones(3)]
        )
    return joined(tensors, mutated_value(random, description))


def case(random, kind):
    """Return the bytes of a mutated file, and the size of its decompressed content."""
    data = random.choice(SEEDS[kind])
    if kind in ("model", "checkpoint") and random.random() < 0.7:
        data = mutated_tensors(random, data)
    elif kind.endswith(".json") and random.random() < 0.5:
        data = json.dumps(mutated_value(random, json.loads(data)), ensure_ascii=random.random() < 0.9).encode(
            errors="surrogatepass"
        )
    elif kind.endswith(".gz"):
        data = mutated(random, data)
        packed = gzip.compress(data, 1)
        return (mutated(random, packed) if random.random() < 0.1 else packed), len(data)
    else:
        data = mutated(random, data)
    return data, len(data)


def read(kind, path, content):
    """Return how many readers accept a file, and how many refuse it; other exceptions are not caught."""
    accepted = refused = 0
    for reader in READERS[kind]:
        message = ""
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        try:
            reader(path)
            accepted += 1
        except (fastbp.InputError, fastbp.DivergedError) as error:
            message, refused = str(error), refused + 1
        peak = tracemalloc.get_traced_memory()[1] - before
        assert message.isprintable(), message
        assert len(message) < 600 + len(str(path)), message
        assert peak < 50 * content + 2**21, f"{peak:,} bytes of memory for {content:,}"
    return accepted, refused


def run(count, seed):
    """Read `count` mutated files of all formats in turn; return how many were accepted and refused, by format."""
    counts = collections.Counter()
    generator = random.Random(seed)
    kinds = list(SEEDS)
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # in memory: a disk takes milliseconds per file
    tracemalloc.start()
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=shared) as folder:
            warnings.simplefilter("error")
            for number in range(count):
                kind = kinds[number % len(kinds)]
                path = Path(folder, f"mutated.{kind}")
                data, content = case(generator, kind)
                path.write_bytes(data)
                try:
                    accepted, refused = read(kind, path, content)
                except BaseException:
                    Path(f"failed.{kind}").write_bytes(data)
                    raise
                counts[kind, "accepted"] += accepted
                counts[kind, "refused"] += refused
    finally:
        tracemalloc.stop()
    return counts


def main():
    count, seed = (int(text) for text in (sys.argv[1:] + ["200000", "0"][len(sys.argv) - 1 :]))
    start = time.perf_counter()
    counts = run(count, seed)
    seconds = time.perf_counter() - start
    for kind in SEEDS:
        print(f"{kind:<12} {counts[kind, 'accepted']:>8,} accepted {counts[kind, 'refused']:>8,} refused")
    print(f"{count:,} files in {seconds:.0f} s, {count / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
