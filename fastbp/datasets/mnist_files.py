"""MNIST: its four IDX files in a folder, downloaded if they are nowhere, and the book's split."""

import os
import time
import zlib
from pathlib import Path
from typing import Any

from fastbp.datasets.idx import GZIP_MAGIC
from fastbp.datasets.rows_and_labels import Splits
from fastbp.datasets.tables import read_images, read_labels
from fastbp.errors import InputError, one_line
from fastbp.files.bounded_reading import StrPath, display_path

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SUMS = {  # sha256 of the unpacked files: mirrors are free to compress them anew, and some have
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TIMEOUT = 10.0  # seconds to connect, and between two packets
DEADLINE = 300.0  # seconds for one file: 10 MB at 33 kB/s
_LARGEST = 2**26  # bytes unpacked; the largest file has 47,040,016


def mnist(folder: StrPath | None = None) -> Splits:
    """Return MNIST as the book splits it: ((x, labels) to train with, to validate, to test).

    x has 784 rows, uint8 from 0 to 255, one column an image of 28 × 28 in rows from the top, a view of the mapped file
    where it is not gzipped; labels are int64 from 0 to 9. The last sixth of the training images validates: 50,000,
    10,000 and 10,000.

    The four files are looked for in `folder`; without one in the folder that the environment variable FASTBP_DATA
    names, and then in the user's cache. If they are not there they are downloaded, their sha256 checked, into `folder`
    or the cache, unpacked. Raises `InputError` if that fails on every mirror, or for files that do not fit together.

    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits"; licence CC BY-SA 3.0.

    >>> (x, labels), validation, test = mnist()  # doctest: +SKIP
    >>> x.shape, labels.shape, x.dtype  # doctest: +SKIP
    ((784, 50000), (50000,), dtype('uint8'))
    """
    named = os.environ.get("FASTBP_DATA")
    if folder is None and named and not missing_files(Path(named)):
        return split_folder(Path(named))
    folder = _cache() if folder is None else Path(folder)
    for name in missing_files(folder):
        _download(name, folder)
    return split_folder(folder)


def missing_files(folder: Path) -> list[str]:
    """Return the names of those of MNIST's four files that are not in a folder, plain or gzipped."""
    return [name for name in SUMS if _find(folder, name) is None]


def split_folder(folder: Path) -> Splits:
    """Return the data of four files that are called like MNIST's: the last sixth of the training file validates."""
    missing = missing_files(folder)
    if missing:
        wanted = f"wanted are {', '.join(SUMS)}, plain or .gz"
        raise InputError(f"{display_path(folder)} has no {' and no '.join(missing)}; {wanted}")
    train_images, train_labels, test_images, test_labels = (_find(folder, name) or folder / name for name in SUMS)
    rows, rows_test = read_images(train_images), read_images(test_images)
    labels, labels_test = read_labels(train_labels, len(rows)), read_labels(test_labels, len(rows_test))
    if rows.shape[1] != rows_test.shape[1]:
        has = f"{display_path(test_images)} has images of {rows_test.shape[1]} values"
        raise InputError(f"{has}; wanted are {rows.shape[1]}, as in {train_images.name}")
    if len(rows) < 2:
        raise InputError(
            f"{display_path(train_images)} has 1 image; wanted are 2 or more, one of them to validate with"
        )
    kept = len(rows) - max(1, len(rows) // 6)
    return (rows[:kept].T, labels[:kept]), (rows[kept:].T, labels[kept:]), (rows_test.T, labels_test)


def _find(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")  # as some archives spell it
    candidates = (folder / f"{spelt}{suffix}" for suffix in ("", ".gz") for spelt in (name, dotted))
    return next((path for path in candidates if path.is_file()), None)


def _cache() -> Path:
    import pooch  # 0.1 s

    return Path(pooch.os_cache("fastbp")) / "mnist"


def _download(name: str, folder: Path) -> None:
    """Put one file into a folder, whole or not at all: pooch moves it there when its sum is right."""
    import pooch

    reason = ""
    for mirror in MIRRORS:
        try:
            pooch.retrieve(f"{mirror}{name}.gz", f"sha256:{SUMS[name]}", name, folder, downloader=_fetch)
        except (OSError, ValueError, zlib.error) as error:  # requests' own are OSErrors, a wrong sum a ValueError
            reason = f"{mirror}: {one_line(error)}"
        else:
            return
    files = ", ".join(f"{name}.gz" for name in SUMS)
    raise InputError(
        f"MNIST could not be downloaded ({reason}); wanted are {files} in {display_path(folder)}, put by hand"
    )


def _fetch(url: str, path: str, _: Any) -> None:
    import pooch

    with open(path, "wb") as file:
        pooch.HTTPDownloader(timeout=TIMEOUT, chunk_size=256)(url, _Unpacking(file), None)


class _Unpacking:
    """A file that unpacks the gzip written to it, up to a deadline and a size.

    requests' time-outs end a silence, and not a mirror that sends a byte now and then, or one that never ends. What
    begins unlike gzip is kept as it is: servers that call gzip an encoding have it unpacked on the way.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._unpacker, self._written = file, zlib.decompressobj(zlib.MAX_WBITS | 16), 0
        self._packed: bool | None = None
        self._deadline = time.monotonic() + DEADLINE

    def write(self, packed: bytes) -> None:
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"not done after {DEADLINE:g} s")
        if self._packed is None:
            self._packed = packed.startswith(GZIP_MAGIC)
        self._written += self._file.write(self._unpacker.decompress(packed) if self._packed else packed)
        if self._written > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")

    def flush(self) -> None:
        """Do nothing: pooch flushes after each chunk, and the file is complete only when it is closed."""
