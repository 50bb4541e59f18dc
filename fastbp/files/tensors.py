"""Files that hold named tensors and a description, in the safetensors format.

Any reader of safetensors can open these files. The metadata have one entry, "fastbp". This entry is the description, a
JSON object. Its fields "kind" and "version" say what the file is. Its field "sha256" is the checksum of the tensors and
of the rest of the description. The checksum is verified when a file is read. There is only one entry, because
safetensors writes entries in any order, whereas equal content should give equal files. Nothing is ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fastbp.errors import InputError, brief, one_line
from fastbp.files.atomic import check_target, write_atomically
from fastbp.files.reading import StrPath, field, json_object, open_regular, path_name, reading

Tensors = dict[str, npt.NDArray[Any]]

_LONGEST_HEADER = 2**22
"""The maximum size of a header in bytes. Parsed JSON may take 50 times its length, so this bounds memory as well."""

_OTHER_FORMATS = {
    b"\x80": "a pickle",
    b"PK": "a zip archive, like .npz files and PyTorch's",
    b"\x93NUMPY": "an .npy file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "compressed by gzip",
}


def write_tensors(path: StrPath, tensors: Mapping[str, npt.NDArray[Any]], description: Mapping[str, Any]) -> None:
    """Write tensors and their description to a file atomically; raise `InputError` if it cannot be written.

    `tensors` may be of any shape and memory layout, with dtype bool, integer or float. `description` must be
    serialisable as JSON. It must have the field "kind", which is a name, and the field "version", which is a positive
    integer. `read_tensors` checks both fields. The field "sha256" is added. Store long lists of numbers as tensors, not
    in the description. Equal content makes equal files.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(folder + "/t", {"a": np.ones((2, 3))}, {"kind": "example", "version": 1, "colour": "red"})
    ...     tensors, description = read_tensors(folder + "/t", "example", 1)
    >>> tensors["a"].shape, description["colour"]
    ((2, 3), 'red')
    """
    from safetensors.numpy import save

    check_target(path)  # before everything is copied
    arrays = {name: np.asarray(a, a.dtype.newbyteorder("<"), order="C") for name, a in tensors.items()}
    data = save(arrays, {"fastbp": json.dumps({**description, "sha256": _checksum(description, arrays)})})
    if (size := int.from_bytes(data[:8], "little")) > _LONGEST_HEADER:
        raise InputError(
            f"cannot write {path_name(path)!r}: its header would have {size:,} bytes, more than the maximum of "
            f"{_LONGEST_HEADER:,}"
        )
    with write_atomically(path) as file:
        file.write(data)


def read_tensors(path: StrPath, kind: str, version: int) -> tuple[Tensors, dict[str, Any]]:
    r"""Return the tensors and the description in a file that `write_tensors` wrote; the arrays are writable.

    Raises `InputError` for any other file, for a damaged one, for a file of another kind, and for a version later than
    the given one. The caller must check which tensors and fields the file has, with `reading` and `field`. Reading
    takes at most three times as much memory as the size of the file, plus 200 MiB for the largest header.

    >>> import contextlib, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    ...     _ = pathlib.Path("m.pkl").write_bytes(b"\x80\x04N.")
    ...     read_tensors("m.pkl", "model", 1)
    Traceback (most recent call last):
    fastbp.errors.InputError: cannot load 'm.pkl': it is a pickle; fastbp reads safetensors files, and never unpickles
    """
    with reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        description = _description(_header(file, size), kind, version)
        checksum = field(description, "sha256", str)
        del description["sha256"]
        file.seek(0)
        tensors = _tensors(file.read(size))
        if _checksum(description, tensors) != checksum:
            raise InputError("it is damaged: its content does not match its checksum")
        return tensors, description


def _header(file: BinaryIO, size: int) -> dict[str, Any]:
    """Return the header of a safetensors file. It is JSON, and its length is in the first eight bytes of the file."""
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{" or length > size - 8:
        for magic, words in _OTHER_FORMATS.items():
            if start.startswith(magic):
                raise InputError(f"it is {words}; fastbp reads safetensors files, and never unpickles")
        if start[8:] not in (b"{", b""):
            raise InputError("it is not a safetensors file")
        raise InputError(
            "it is truncated, or not a safetensors file: "
            f"the file has only {size:,} bytes, but its header should have {length:,}"
        )
    if length > _LONGEST_HEADER:
        raise InputError(f"its header has {length:,} bytes, more than the maximum of {_LONGEST_HEADER:,}")
    file.seek(8)
    return json_object("header", file.read(length))


def _description(header: Mapping[str, Any], kind: str, version: int) -> dict[str, Any]:
    """Return the description in a header, after checking its kind and version."""
    metadata = header.get("__metadata__")
    text = metadata.get("fastbp") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise InputError("it has no description: it is damaged, or a safetensors file not written by fastbp")
    description = json_object("description", text)
    if (found := field(description, "kind", str)) != kind:
        raise InputError(f"it must be a file of kind {brief(kind)}, got kind {brief(found)}")
    if (found_version := field(description, "version", int)) > version:
        raise InputError(
            f"it was written by a later fastbp, in version {brief(found_version)} of the format, and this fastbp reads "
            f"versions up to {version}; upgrade with pip install -U fastbp"
        )
    if found_version < 1:
        raise InputError(f"'version' in its description must be >= 1, got {brief(found_version)}")
    return description


def _tensors(data: bytes) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except (SafetensorError, KeyError, ValueError, OverflowError) as error:  # the last three: dtypes unknown to NumPy
        raise InputError(f"it is truncated or damaged: {one_line(error)}") from error


def _checksum(description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the sha256 of a description and of tensors with their names, dtypes and shapes, sorted by name."""
    try:
        text = json.dumps(description)  # a description that was parsed from a file gives the text in the file
    except RecursionError as error:
        raise InputError("its description is nested too deeply") from error
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
