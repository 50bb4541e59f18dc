"""The data set MNIST. Its four IDX files are downloaded if necessary, and split as in Nielsen's book."""

import os
import re
import time
import zlib
from pathlib import Path
from typing import Any

from fastbp.datasets.idx import GZIP_MAGIC
from fastbp.datasets.rows_and_labels import Splits
from fastbp.datasets.tables import read_images, read_labels
from fastbp.errors import InputError, one_line
from fastbp.files.reading import StrPath, bad_file, display_path

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SUMS = {  # sha256 of the decompressed files, because some mirrors have compressed them again
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TIMEOUT = 10.0  # seconds to wait for a connection, and then for each packet
DEADLINE = 300.0  # seconds for one file: enough for 10 MB at 33 kB/s
_TRAINING_IMAGES = re.compile(r"train-images[-.]idx3-ubyte")
_LARGEST = 2**26  # maximum size of a decompressed file in bytes; the largest file of MNIST has 47,040,016


def mnist(folder: StrPath | None = None) -> Splits:
    """Load MNIST, split into 50,000 training, 10,000 validation and 10,000 test images as in Nielsen's book.

    The last sixth of the training images is the validation set.

    Parameters
    ----------
    folder : str or os.PathLike, optional
        Folder of MNIST's four IDX files, plain or compressed by gzip. The default is the folder named in the
        environment variable FASTBP_DATA if that folder has all four files, and the user's cache otherwise. Missing
        files are downloaded into `folder` or the cache. Their sha256 is checked, and they are stored decompressed.

    Returns
    -------
    (x, labels), (x_validation, labels_validation), (x_test, labels_test) : tuple of tuples of ndarray
        Each column of x is an image of 28 × 28 pixels, row by row from the top: 784 rows of uint8, from 0 to 255. x is
        a view of the memory-mapped file unless the file is compressed. Labels are int64, from 0 to 9.

    Raises
    ------
    InputError
        If the download fails on every mirror, or if the files do not fit together.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits"; licence CC BY-SA 3.0.

    Examples
    --------
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
    """Return the names of MNIST's files that are not in the folder, neither plain nor compressed by gzip."""
    return [name for name in SUMS if _find(folder, name) is None]


def image_file_names(folder: Path) -> list[Path]:
    """Return the IDX files of training images in a folder, or in the sub-folders that torchvision makes.

    torchvision stores the files in FOLDER/raw or FOLDER/NAME/raw. The files of EMNIST begin with the name of a part,
    such as "emnist-letters-".
    """
    for pattern in ("*", "raw/*", "*/raw/*"):
        found = sorted(path for path in folder.glob(pattern) if _TRAINING_IMAGES.search(path.name) and path.is_file())
        if found:
            plain = {path.name.removesuffix(".gz"): path for path in reversed(found)}
            return sorted(plain.values())
    return []


def split_folder(folder: Path) -> Splits:
    """Return the training, validation and test set in a folder with four IDX files named like those of MNIST.

    The files of Fashion-MNIST and KMNIST have the same names as those of MNIST. `image_file_names` describes the other
    names and the sub-folders that are recognised. The last sixth of the training images is the validation set.
    """
    missing = missing_files(folder)
    found = image_file_names(folder) if missing else []
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:6])
        raise bad_file(folder, f"has several sets of images ({names})", "one set, in a folder of its own")
    if found and not (found[0].parent == folder and found[0].name.startswith("train-")):
        return _split_files(*_set_of(found[0]))
    if missing:
        raise bad_file(folder, f"has no {' and no '.join(missing)}", f"{', '.join(SUMS)}, plain or .gz")
    return _split_files(*(_find(folder, name) or folder / name for name in SUMS))


def _set_of(train_images: Path) -> list[Path]:
    """Return the four files of the set to which a file of training images belongs."""
    others = [_TRAINING_IMAGES.sub(name, train_images.name) for name in
              ("train-labels-idx1-ubyte", "{test}-images-idx3-ubyte", "{test}-labels-idx1-ubyte")]  # fmt: skip
    files = [train_images]
    for other in others:
        found = (
            _find(train_images.parent, other.removesuffix(".gz").replace("{test}", test)) for test in ("t10k", "test")
        )
        path = next((path for path in found if path is not None), None)
        if path is None:
            name = other.removesuffix(".gz").replace("{test}", "test")
            raise bad_file(train_images.parent, f"has no {name}", f"it beside {train_images.name}, plain or .gz")
        files.append(path)
    return files


def _split_files(train_images: Path, train_labels: Path, test_images: Path, test_labels: Path) -> Splits:
    rows, rows_test = read_images(train_images), read_images(test_images)
    labels, labels_test = read_labels(train_labels, len(rows)), read_labels(test_labels, len(rows_test))
    if rows.shape[1] != rows_test.shape[1]:
        found = f"has images of {rows_test.shape[1]} values"
        raise bad_file(test_images, found, f"{rows.shape[1]}, as in {train_images.name}")
    if len(rows) < 2:
        raise bad_file(train_images, "has 1 image", "at least 2, one of them for validation")
    kept = len(rows) - max(1, len(rows) // 6)
    return (rows[:kept].T, labels[:kept]), (rows[kept:].T, labels[kept:]), (rows_test.T, labels_test)


def _find(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")  # the spelling of some archives
    candidates = (folder / f"{spelling}{suffix}" for suffix in ("", ".gz") for spelling in (name, dotted))
    return next((path for path in candidates if path.is_file()), None)


def _cache() -> Path:
    import pooch  # takes 0.1 s

    return Path(pooch.os_cache("fastbp")) / "mnist"


def _download(name: str, folder: Path) -> None:
    """Download one file into a folder.

    The folder never contains an incomplete file, because pooch checks the sha256 before it moves the file into the
    folder.
    """
    import pooch

    reason = ""
    for mirror in MIRRORS:
        try:
            pooch.retrieve(f"{mirror}{name}.gz", f"sha256:{SUMS[name]}", name, folder, downloader=_fetch)
        except (OSError, ValueError, zlib.error) as error:  # requests raises OSErrors; a wrong hash is a ValueError
            reason = f"{mirror}: {one_line(error)}"
        else:
            return
    files = ", ".join(f"{name}.gz" for name in SUMS)
    raise InputError(f"MNIST could not be downloaded ({reason}); put {files} into {display_path(folder)} by hand")


def _fetch(url: str, path: str, _: Any) -> None:
    import pooch

    with open(path, "wb") as file:
        pooch.HTTPDownloader(timeout=TIMEOUT, chunk_size=256)(url, _Decompressing(file), None)


class _Decompressing:
    """A file that decompresses the gzip data written to it, with a deadline and a limit on its size.

    The time-outs of the library `requests` take effect only while no data arrive. They stop neither a mirror that sends
    a byte now and then, nor a mirror that never stops sending. Data that do not begin like gzip are written unchanged.
    This is right, because `requests` itself decompresses the data if a server declares gzip as their encoding.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._decompressor, self._written = file, zlib.decompressobj(zlib.MAX_WBITS | 16), 0
        self._is_gzip: bool | None = None
        self._deadline = time.monotonic() + DEADLINE

    def write(self, data: bytes) -> None:
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"not finished after {DEADLINE:g} s")
        if self._is_gzip is None:
            self._is_gzip = data.startswith(GZIP_MAGIC)
        self._written += self._file.write(self._decompressor.decompress(data) if self._is_gzip else data)
        if self._written > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")

    def flush(self) -> None:
        """Do nothing. pooch calls this after every chunk, but only the complete, closed file is used."""
