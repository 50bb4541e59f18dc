"""Files are written atomically; tensors are read back as they were written, or with an InputError of one line."""

import errno
import hashlib
import io
import json
import os
import pickle
import re
import signal
import stat
import struct
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refused
from safetensors import safe_open
from safetensors.numpy import load_file, save

import fastbp
from fastbp.files import locks
from fastbp.files.atomic import check_target, write_atomically
from fastbp.files.reading import field
from fastbp.files.tensors import read_tensors, write_tensors

DESCRIPTION = {"kind": "example", "version": 1, "state": 2**127 + 1, "names": ["σ", "\ud800"], "cost": 0.1}
TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2.5).reshape(()), "c": np.zeros((0, 4))}


def write(path, content):
    with write_atomically(path) as file:
        file.write(content)


def raises_oserror(number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    return fail


# Atomic writing


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_file_is_written_and_overwritten(tmp_path, as_path):
    path = as_path(tmp_path / "no ending: 'σ'\n")
    for content in (b"first", b"and a longer second", b""):
        write(path, content)
        assert Path(path).read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_the_old_file_stays_until_the_block_ends(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with write_atomically(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail():
        with write_atomically(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_error_of_the_system_while_writing(tmp_path, monkeypatch, function, number):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, function, raises_oserror(number))
    refused(rf"cannot write '.*f': {os.strerror(number)}; nothing was changed", write, path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_flushed_does_not_matter(tmp_path, monkeypatch):
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened("/no/such" if path == str(tmp_path) else path, *rest))
    write(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_full_disk(small_disk):
    path = small_disk / "net"
    fastbp.Network([8, 4, 2], rng=0).save(path)
    old = path.read_bytes()
    refused("No space left on device; nothing was changed", fastbp.Network([300, 100], rng=0).save, path)
    assert path.read_bytes() == old
    assert list(small_disk.iterdir()) == [path]
    fastbp.load(path)


def test_the_mode_is_that_of_the_old_file_or_the_default(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode
    plain.chmod(0o604)
    write(plain, b"new")
    assert stat.S_IMODE(plain.stat().st_mode) == 0o604


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_draft_never_has_more_permissions_than_the_file_it_replaces(tmp_path, mode):
    path = tmp_path / "f"
    path.touch()
    path.chmod(mode)
    with write_atomically(path) as file:
        file.write(b"secret")
        file.flush()
        (draft,) = set(tmp_path.iterdir()) - {path}
        assert stat.S_IMODE(draft.stat().st_mode) & ~mode == 0
    assert stat.S_IMODE(path.stat().st_mode) == mode


KILLED = """
import os, signal
from fastbp.files.atomic import write_atomically
with write_atomically("f") as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_write_removes_drafts_of_killed_processes_but_not_drafts_in_use(tmp_path, run_python):
    assert run_python(KILLED).returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".fastbp-*")
    similar = [tmp_path / name for name in (".fastbp-0123456789abcdef.tmp.bak", ".fastbp-notes.tmp", "x.tmp")]
    for path in similar:
        path.touch()
    with write_atomically(tmp_path / "f") as file:
        assert not left.exists()
        write(tmp_path / "g", b"another write meanwhile")
        file.write(b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"
    assert {path for path in tmp_path.iterdir() if path.suffix in (".tmp", ".bak")} == set(similar)


def test_a_draft_that_another_process_removes_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    lock, removed = locks.lock, []

    def removing(descriptor, *, wait):
        if wait and not removed:
            removed.extend(tmp_path.glob(".fastbp-*"))
            removed[0].unlink()
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(locks, "lock", removing)
    write(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("in_front", [False, True])
def test_a_link_that_another_user_planted_in_a_shared_folder_is_not_followed(tmp_path, in_front):
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can give a link to another user")
    shared, private = tmp_path / "shared", tmp_path / "private"
    shared.mkdir()
    shared.chmod(0o1777)
    private.mkdir()
    (private / "f").write_bytes(b"old")
    (shared / "link").symlink_to(private if in_front else private / "f")
    os.chown(shared / "link", 4242, -1, follow_symlinks=False)
    path = shared / "link" / "f" if in_front else shared / "link"
    refused("'.*link' is a link that another user made in a folder where others can write", write, path, b"new")
    assert (private / "f").read_bytes() == b"old"
    os.chown(shared / "link", 0, -1, follow_symlinks=False)
    write(path, b"new")
    assert (private / "f").read_bytes() == b"new"


def test_links_are_followed_as_the_system_follows_them(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "to-b").symlink_to("a/b")
    (tmp_path / "a" / "up").symlink_to("../to-b/../f")
    for name in ("f", "a/b/../f", "to-b/../f", "a/up", "./a//up", "to-b/none/../f"):
        path = f"{tmp_path}/{name}"
        assert check_target(path) == os.path.realpath(path)


def test_a_link_put_in_the_place_of_a_draft_is_not_written_through(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "urandom", lambda n: bytes(n))
    (tmp_path / "private").write_bytes(b"old")
    (tmp_path / f".fastbp-{'00' * 8}.tmp").symlink_to("private")
    refused("File exists", write, tmp_path / "f", b"new")
    assert (tmp_path / "private").read_bytes() == b"old"


def test_the_file_that_a_link_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link, file = tmp_path / "link", tmp_path / "there" / "file"
    link.symlink_to(file)
    for content in (b"new", b"newer"):  # at first the link is dangling
        write(link, content)
        assert link.is_symlink()
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "it is a folder; nothing was changed"),
        ("missing/f", r"'.*/missing' is not a writable folder; nothing was changed"),
        ("file/f", r"'.*/file' is not a writable folder"),
        ("pipe", "it is not a regular file"),
        ("loop", "it is not a regular file"),
        ("n" * 300, "File name too long"),
    ],
)
def test_targets_that_cannot_be_written(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    refused(f"cannot write '.*{name}': {message}", write, tmp_path / name, b"new")
    refused(f"cannot write '.*{name}': {message}", fastbp.Network([2, 2]).save, tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root has all permissions")
def test_files_and_folders_without_permission(tmp_path):
    path = tmp_path / "f"
    write(path, b"old")
    path.chmod(0o444)
    refused("it is not writable", write, path, b"new")
    path.chmod(0)
    refused("cannot load '.*f': Permission denied", read_tensors, path, "example", 1)
    tmp_path.chmod(0o555)
    refused("is not a writable folder", write, tmp_path / "g", b"new")
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("path", [3, None, b"bytes", "", "a\0b", 1.5, []])
def test_invalid_paths(path):
    for call in (check_target, fastbp.load, fastbp.Network([2, 2]).save):
        refused("path must be the name of a file, a str or os.PathLike, got ", call, path)


WRITER = """
import sys
import numpy as np
from fastbp.files.tensors import write_tensors
value = float(sys.argv[1])
for _ in range(100):
    write_tensors("shared", {"a": np.full(50_000, value)}, {"kind": "example", "version": 1, "value": value})
"""


def test_two_processes_writing_the_same_file(tmp_path):
    """At any moment the file is a complete one, written by one of them."""
    import sys

    write_tensors(tmp_path / "shared", {"a": np.zeros(50_000)}, {"kind": "example", "version": 1, "value": 0.0})
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, value], cwd=tmp_path) for value in "12"]
    seen = set()
    while any(process.poll() is None for process in processes):
        tensors, description = read_tensors(tmp_path / "shared", "example", 1)
        seen.add(description["value"])
        assert (tensors["a"] == description["value"]).all()
    assert [process.returncode for process in processes] == [0, 0]
    assert seen & {1.0, 2.0}
    assert os.listdir(tmp_path) == ["shared"]


# Tensors and their description


def test_tensors_and_description_are_read_as_written(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, TENSORS, DESCRIPTION)
    tensors, description = read_tensors(path, "example", 1)
    assert description == DESCRIPTION
    assert tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], expected, strict=True)
        assert tensors[name].flags.writeable
    with safe_open(path, framework="np") as file:  # any reader of safetensors
        (text,) = file.metadata().values()
        assert json.loads(text).items() > DESCRIPTION.items()
    np.testing.assert_array_equal(load_file(path)["a"], TENSORS["a"])


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("layout", ["C", "Fortran", "reversed", "every other", "foreign"])
def test_every_dtype_and_layout(tmp_path, dtype, layout):
    expected = np.arange(-6, 6).reshape(3, 4).astype(dtype)
    array = {
        "C": expected,
        "Fortran": np.asfortranarray(expected),
        "reversed": expected[::-1].copy()[::-1],
        "every other": np.repeat(expected, 2, axis=1)[:, ::2],
        "foreign": expected.astype(np.dtype(dtype).newbyteorder()),
    }[layout]
    write_tensors(tmp_path / "t", {"a": array}, DESCRIPTION)
    (tensor,) = read_tensors(tmp_path / "t", "example", 1)[0].values()
    np.testing.assert_array_equal(tensor, expected, strict=True)


def test_a_header_too_large_to_be_read_is_not_written(tmp_path):
    description = {**DESCRIPTION, "long": "x" * 2**22}
    refused(
        "its header would have 4,194,744 bytes, more than the maximum",
        write_tensors,
        tmp_path / "t",
        TENSORS,
        description,
    )
    assert not list(tmp_path.iterdir())


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def archive(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped(file):
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("archive/data.pkl", pickle.dumps(Evil()))


def with_length(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def with_description(text):
    return save({}, {"fastbp": text})


def with_checksum(description):
    checksum = hashlib.sha256(json.dumps(description).encode()).hexdigest()
    return with_description(json.dumps({**description, "sha256": checksum}))


NO_DESCRIPTION = "it has no description: it is damaged, or a safetensors file not written by fastbp"
BAD = [
    (b"", "it is truncated, or not a safetensors file: the file has only 0 bytes"),
    (b"\x08", "truncated, or not a safetensors file: the file has only 1 bytes"),
    (b"{}", "truncated, or not a safetensors file"),
    (
        struct.pack("<Q", 2**60) + b"{}",
        "truncated, or .* 10 bytes, but its header should have 1,152,921,504,606,846,",
    ),
    (struct.pack("<Q", 2**64 - 1) + b"{}", "its header should have 18,446,744,073,709,551,615"),
    (
        struct.pack("<Q", 5_000_000) + b"{" * 5_000_000,
        "header has 5,000,000 bytes, more than the maximum of 4,194,304",
    ),
    (b"Once upon a time, there was a text.", "it is not a safetensors file"),
    *((pickle.dumps(Evil(), p), "it is a pickle; .* never unpickles") for p in range(2, 6)),
    (pickle.dumps(Evil(), 0), "it is not a safetensors file"),
    (archive(zipped), "it is a zip archive, like .npz files and PyTorch's; .* never unpickles"),
    (archive(lambda file: np.savez(file, a=np.ones(3))), "it is a zip archive"),
    (archive(lambda file: np.save(file, np.ones(3))), "it is an .npy file"),
    (b"\x1f\x8b\x08\x00" + bytes(9), "it is compressed by gzip"),
    (with_length(b"{}"), NO_DESCRIPTION),
    (with_length(b'{"__metadata__": 3}'), NO_DESCRIPTION),
    (with_length(b'{"__metadata__": {"fastbp": 3}}'), NO_DESCRIPTION),
    (save(TENSORS | {"b": np.ones(())}), NO_DESCRIPTION),
    (with_length(b"{]"), "its header is damaged: Expecting"),
    (with_length(b"{\xff}"), "its header is damaged: 'utf-8' codec"),
    (with_length(b'{"a":' + b"[" * 100_000), "its header is damaged: "),
    (with_length(b'{"a":' + b"9" * 5_000), "its header is damaged: "),
    (with_description("no JSON"), "its description is damaged: Expecting value"),
    (with_description("[]"), r"its description is damaged: expected a JSON object, got \[\]"),
    (with_description("[" * 100_000), "its description is damaged: "),
    (with_checksum({"version": 1}), "'kind' is missing from its description"),
    (
        with_checksum({"kind": ["model"], "version": 1}),
        r"'kind' in its .* must be of type str, got \['model'\]",
    ),
    (with_checksum({"kind": "model", "version": 1}), "it must be a file of kind 'example', got kind 'model'"),
    (with_checksum({"kind": "example"}), "'version' is missing from its description"),
    (with_checksum({"kind": "example", "version": "1"}), "'version' in its description must be of type int, got '1'"),
    (with_checksum({"kind": "example", "version": True}), "'version' in its description must be of type int, got True"),
    (with_checksum({"kind": "example", "version": 0}), "'version' in its description must be >= 1, got 0"),
    (
        with_checksum({"kind": "example", "version": 3}),
        "a later fastbp, in version 3 .* up to 1; upgrade with pip install -U",
    ),
    (with_description(json.dumps(DESCRIPTION)), "'sha256' is missing from its description"),
    (
        with_description(json.dumps({**DESCRIPTION, "sha256": 0})),
        "'sha256' in its .* must be of type str, got 0",
    ),
    (
        with_description(json.dumps({**DESCRIPTION, "sha256": "0" * 64})),
        "its content does not match its checksum",
    ),
    (with_checksum({"kind": "example", "version": 1}) + b"more", "it is truncated or damaged: Error"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=range(len(BAD)))
def test_invalid_files(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    Path("bad").write_bytes(content)
    refused(f"cannot load 'bad': .*{message}", read_tensors, "bad", "example", 1)
    assert os.listdir() == ["bad"]  # the pickle was not executed


@pytest.mark.parametrize("depth", range(150, 1200, 50))
def test_a_deeply_nested_description_is_refused(tmp_path, depth):
    text = '{"kind": "example", "version": 1, "sha256": "", "x": ' + "[" * depth + "]" * depth + "}"
    (tmp_path / "bad").write_bytes(with_description(text))
    refused("cannot load '.*bad': ", read_tensors, tmp_path / "bad", "example", 1)


@pytest.mark.parametrize(
    "info",
    [
        {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1]},
        {"dtype": "O", "shape": [1], "data_offsets": [0, 4]},
        [],
    ],
)
def test_headers_that_do_not_match_the_data(tmp_path, info):
    metadata = {"fastbp": json.dumps({"kind": "example", "version": 1, "sha256": ""})}
    header = json.dumps({"__metadata__": metadata, "a": info}).encode()
    (tmp_path / "bad").write_bytes(with_length(header, bytes(4)))
    refused("cannot load '.*bad': it is truncated or damaged", read_tensors, tmp_path / "bad", "example", 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "it is a folder"),
        ("missing", "No such file"),
        ("pipe", "it is not a regular file"),
        ("loop", "Too many"),
    ],
)
def test_paths_that_are_not_regular_files(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    refused(f"cannot load '.*{name}': {message}", read_tensors, tmp_path / name, "example", 1)


def test_fields():
    assert field({"eta": 0.5}, "eta", float) == 0.5
    refused("'eta' is missing from its description", field, {}, "eta", float)
    refused("'eta' in its description must be of type float, got 1", field, {"eta": 1}, "eta", float)
    refused(
        r"'eta' in its description must be of type float, got \[0, 0, 0, 0, 0, 0, ...\]",
        field,
        {"eta": [0] * 1000},
        "eta",
        float,
    )


@pytest.fixture(scope="module")
def valid_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("valid") / "t"
    write_tensors(path, TENSORS, DESCRIPTION)
    return path


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_bytes_are_detected_or_do_not_matter(valid_file, tmp_path, data):
    content = bytearray(valid_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.one_of(st.just(start + 1), st.integers(start, len(content))))
        content[start:stop] = data.draw(st.binary(max_size=12))
    (tmp_path / "t").write_bytes(content)
    message = ""
    try:
        tensors, description = read_tensors(tmp_path / "t", "example", 1)
    except fastbp.InputError as error:
        message = str(error)
    else:
        assert description == DESCRIPTION
        for name, expected in TENSORS.items():
            np.testing.assert_array_equal(tensors[name], expected, strict=True)
    assert "\n" not in message


def test_flipped_bits_and_truncation_are_detected_or_do_not_matter(valid_file, tmp_path):
    content, path = valid_file.read_bytes(), tmp_path / "t"
    passed = 0
    for place in range(len(content)):
        path.write_bytes(content[:place])
        refused("cannot load '.*t': ", read_tensors, path, "example", 1)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            tensors, description = read_tensors(path, "example", 1)
        except fastbp.InputError:
            continue
        passed += 1
        assert description == DESCRIPTION
        np.testing.assert_array_equal(tensors["a"], TENSORS["a"])
    assert passed < 10  # such as the case of a letter in \ud800


def test_memory_is_bounded_by_the_size_of_the_file(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, {"a": np.zeros(2**20)}, DESCRIPTION)
    hostile = with_length(b'{"a":[' + b"[]," * 10**6 + b"[]]}")
    for content, most in ((path.read_bytes(), 3.1), (path.read_bytes()[:-8], 3.1), (hostile, 30)):
        path.write_bytes(content)
        tracemalloc.start()
        try:
            read_tensors(path, "example", 1)
        except fastbp.InputError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < most * len(content) + 2**20


UNPICKLES = re.compile(
    r"^\s*(?:import|from) (?:pickle|shelve|dill|joblib|marshal)\b|pickle\.loads?\b|allow_pickle\s*=\s*True",
    re.MULTILINE,
)


def test_nothing_in_fastbp_unpickles():
    """Except the cache of compiled code, which contains machine code anyway, and whose digest is checked first."""
    root = Path(fastbp.__file__).parent
    sources = {*root.rglob("*.py"), *(root.parent / "kernels").rglob("*.py")}
    sources.remove(root.parent / "kernels/fastbp_kernels/cpu/jit_cache.py")
    assert len(sources) > 20
    for path in sources:
        assert not re.search(UNPICKLES, path.read_text(encoding="utf-8")), path
