"""Files are whole or not there, and what is read is what was written, or an InputError of one line."""

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
from safetensors import safe_open
from safetensors.numpy import load_file, save
from test_bad_input import refused

import fastbp
from fastbp.files import locks
from fastbp.files.tensors import check_target, field, read_tensors, write_tensors, write_whole

DESCRIPTION = {"kind": "example", "version": 1, "state": 2**127 + 1, "names": ["σ", "\ud800"], "cost": 0.1}
TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2.5).reshape(()), "c": np.zeros((0, 4))}


def put(path, content):
    with write_whole(path) as file:
        file.write(content)


def raises_oserror(number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    return fail


# Whole or not there


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_file_is_written_and_written_again(tmp_path, as_path):
    path = as_path(tmp_path / "no ending: 'σ'\n")
    for content in (b"first", b"and a longer second", b""):
        put(path, content)
        assert Path(path).read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_until_the_block_ends_there_is_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with write_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail():
        with write_whole(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_stand_in_for_a_full_disk(tmp_path, monkeypatch, function, number):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, function, raises_oserror(number))
    refused(rf"cannot write '.*f': {os.strerror(number)}; nothing was changed", put, path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_synced_is_no_reason_to_fail(tmp_path, monkeypatch):
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened("/no/such" if path == str(tmp_path) else path, *rest))
    put(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_full_disk(small_disk):
    path = small_disk / "net"
    fastbp.Network([8, 4, 2], rng=0).save(path)
    old = path.read_bytes()
    refused("No space left on device; nothing was changed", fastbp.Network([300, 100], rng=0).save, path)
    assert path.read_bytes() == old
    assert list(small_disk.iterdir()) == [path]
    fastbp.load(path)


def test_the_mode_is_what_open_gives_or_what_it_was(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    put(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode
    plain.chmod(0o604)
    put(plain, b"new")
    assert stat.S_IMODE(plain.stat().st_mode) == 0o604


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_draft_is_never_more_open_than_the_file_it_replaces(tmp_path, mode):
    path = tmp_path / "f"
    path.touch()
    path.chmod(mode)
    with write_whole(path) as file:
        file.write(b"secret")
        file.flush()
        (draft,) = set(tmp_path.iterdir()) - {path}
        assert stat.S_IMODE(draft.stat().st_mode) & ~mode == 0
    assert stat.S_IMODE(path.stat().st_mode) == mode


KILLED = """
import os, signal
from fastbp.files.tensors import write_whole
with write_whole("f") as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_draft_of_a_killed_process_is_removed_by_the_next_write_and_one_in_use_is_not(tmp_path, run_python):
    assert run_python(KILLED).returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".fastbp-*")
    similar = [tmp_path / name for name in (".fastbp-0123456789abcdef.tmp.bak", ".fastbp-notes.tmp", "x.tmp")]
    for path in similar:
        path.touch()
    with write_whole(tmp_path / "f") as file:
        assert not left.exists()
        put(tmp_path / "g", b"another write meanwhile")
        file.write(b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"
    assert {path for path in tmp_path.iterdir() if path.suffix in (".tmp", ".bak")} == set(similar)


def test_a_draft_that_another_process_sweeps_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, swept = locks.lock, []

    def sweeping(descriptor, *, wait):
        if wait and not swept:
            swept.extend(tmp_path.glob(".fastbp-*"))
            swept[0].unlink()
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(locks, "lock", sweeping)
    put(tmp_path / "f", b"new")
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
    refused("'.*link' is a link that another user made in a folder where others can write", put, path, b"new")
    assert (private / "f").read_bytes() == b"old"
    os.chown(shared / "link", 0, -1, follow_symlinks=False)
    put(path, b"new")
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
    refused("File exists", put, tmp_path / "f", b"new")
    assert (tmp_path / "private").read_bytes() == b"old"


def test_of_a_link_the_file_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link, file = tmp_path / "link", tmp_path / "there" / "file"
    link.symlink_to(file)
    for content in (b"new", b"newer"):  # the first time it leads nowhere
        put(link, content)
        assert link.is_symlink()
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "it is a folder; nothing was changed"),
        ("missing/f", r"'.*/missing' is no folder that can be written to; nothing was changed"),
        ("file/f", r"'.*/file' is no folder that can be written to"),
        ("pipe", "it is no regular file"),
        ("loop", "it is no regular file"),
        ("n" * 300, "File name too long"),
    ],
)
def test_places_that_cannot_be_written_to(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    refused(f"cannot write '.*{name}': {message}", put, tmp_path / name, b"new")
    refused(f"cannot write '.*{name}': {message}", fastbp.Network([2, 2]).save, tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_permissions(tmp_path):
    path = tmp_path / "f"
    put(path, b"old")
    path.chmod(0o444)
    refused("it may not be written to", put, path, b"new")
    path.chmod(0)
    refused("cannot load '.*f': Permission denied", read_tensors, path, "example", 1)
    tmp_path.chmod(0o555)
    refused("is no folder that can be written to", put, tmp_path / "g", b"new")
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("path", [3, None, b"bytes", "", "a\0b", 1.5, []])
def test_what_is_no_path(path):
    for call in (check_target, fastbp.load, fastbp.Network([2, 2]).save):
        refused("path is .*; wanted is the name of a file", call, path)


WRITER = """
import sys
import numpy as np
from fastbp.files.tensors import write_tensors
value = float(sys.argv[1])
for _ in range(100):
    write_tensors("shared", {"a": np.full(50_000, value)}, {"kind": "example", "version": 1, "value": value})
"""


def test_two_processes_that_write_one_file(tmp_path):
    """The file is at any moment one of theirs, whole."""
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


# Tensors with a description


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, TENSORS, DESCRIPTION)
    tensors, description = read_tensors(path, "example", 1)
    assert description == DESCRIPTION
    assert tensors.keys() == TENSORS.keys()
    for name, wanted in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], wanted, strict=True)
        assert tensors[name].flags.writeable
    with safe_open(path, framework="np") as file:  # any reader of safetensors
        (text,) = file.metadata().values()
        assert json.loads(text).items() > DESCRIPTION.items()
    np.testing.assert_array_equal(load_file(path)["a"], TENSORS["a"])


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("layout", ["C", "Fortran", "reversed", "every other", "foreign"])
def test_every_dtype_and_layout(tmp_path, dtype, layout):
    wanted = np.arange(-6, 6).reshape(3, 4).astype(dtype)
    array = {
        "C": wanted,
        "Fortran": np.asfortranarray(wanted),
        "reversed": wanted[::-1].copy()[::-1],
        "every other": np.repeat(wanted, 2, axis=1)[:, ::2],
        "foreign": wanted.astype(np.dtype(dtype).newbyteorder()),
    }[layout]
    write_tensors(tmp_path / "t", {"a": array}, DESCRIPTION)
    (tensor,) = read_tensors(tmp_path / "t", "example", 1)[0].values()
    np.testing.assert_array_equal(tensor, wanted, strict=True)


def test_a_description_that_no_reader_would_take_is_not_written(tmp_path):
    description = {**DESCRIPTION, "long": "x" * 2**22}
    refused("its header would have more than 4,194,304 bytes", write_tensors, tmp_path / "t", TENSORS, description)
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


def framed(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def described(text):
    return save({}, {"fastbp": text})


def signed(description):
    checksum = hashlib.sha256(json.dumps(description).encode()).hexdigest()
    return described(json.dumps({**description, "sha256": checksum}))


NOT_OURS = "that fastbp did not write, or damaged: it has no description"
BAD = [
    (b"", "it is cut short, or no safetensors file: 0 bytes"),
    (b"\x08", "cut short, or no safetensors file: 1 bytes"),
    (b"{}", "cut short, or no safetensors file"),
    (struct.pack("<Q", 2**60) + b"{}", "cut short, or .* 10 bytes, of which 1,152,921,504,606,846,976 are its header"),
    (struct.pack("<Q", 2**64 - 1) + b"{}", "18,446,744,073,709,551,615 are its header"),
    (struct.pack("<Q", 5_000_000) + b"{" * 5_000_000, "its header has 5,000,000 bytes; wanted are at most 4,194,304"),
    (b"Once upon a time, there was a text.", "it is no safetensors file"),
    *((pickle.dumps(Evil(), p), "it is a pickle; .* unpickles nothing") for p in range(2, 6)),
    (pickle.dumps(Evil(), 0), "it is no safetensors file"),
    (archive(zipped), "it is a zip archive, as .npz files and PyTorch's are; .* unpickles nothing"),
    (archive(lambda file: np.savez(file, a=np.ones(3))), "it is a zip archive"),
    (archive(lambda file: np.save(file, np.ones(3))), "it is an .npy file"),
    (b"\x1f\x8b\x08\x00" + bytes(9), "it is compressed by gzip"),
    (framed(b"{}"), NOT_OURS),
    (framed(b'{"__metadata__": 3}'), NOT_OURS),
    (framed(b'{"__metadata__": {"fastbp": 3}}'), NOT_OURS),
    (save(TENSORS | {"b": np.ones(())}), NOT_OURS),
    (framed(b"{]"), "its header is damaged: Expecting"),
    (framed(b"{\xff}"), "its header is damaged: 'utf-8' codec"),
    (framed(b'{"a":' + b"[" * 100_000), "its header is damaged: "),
    (framed(b'{"a":' + b"9" * 5_000), "its header is damaged: "),
    (described("no JSON"), "its description is damaged: Expecting value"),
    (described("[]"), r"its description is damaged: \[\]"),
    (described("[" * 100_000), "its description is damaged: "),
    (signed({"version": 1}), "its description has no 'kind'"),
    (signed({"kind": ["model"], "version": 1}), r"its description has 'kind': \['model'\]; wanted is of type str"),
    (signed({"kind": "model", "version": 1}), "it is a model; wanted is a example"),
    (signed({"kind": "example"}), "its description has no 'version'"),
    (signed({"kind": "example", "version": "1"}), "has 'version': '1'; wanted is of type int"),
    (signed({"kind": "example", "version": True}), "has 'version': True; wanted is of type int"),
    (signed({"kind": "example", "version": 0}), "has 'version': 0; wanted is at least 1"),
    (
        signed({"kind": "example", "version": 3}),
        "a later fastbp: version 3, .* up to 1; upgrade: pip install -U",
    ),
    (described(json.dumps(DESCRIPTION)), "its description has no 'sha256'"),
    (described(json.dumps({**DESCRIPTION, "sha256": 0})), "has 'sha256': 0; wanted is of type str"),
    (described(json.dumps({**DESCRIPTION, "sha256": "0" * 64})), "it is damaged: its content is not that of"),
    (signed({"kind": "example", "version": 1}) + b"more", "it is cut short or damaged: Error"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_read(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    Path("bad").write_bytes(content)
    refused(f"cannot load 'bad': .*{message}", read_tensors, "bad", "example", 1)
    assert os.listdir() == ["bad"]  # what a pickle wants done was not done


@pytest.mark.parametrize("depth", range(150, 1200, 50))
def test_a_description_of_any_depth_is_refused(tmp_path, depth):
    text = '{"kind": "example", "version": 1, "sha256": "", "x": ' + "[" * depth + "]" * depth + "}"
    (tmp_path / "bad").write_bytes(described(text))
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
def test_headers_that_promise_what_is_not_there(tmp_path, info):
    metadata = {"fastbp": json.dumps({"kind": "example", "version": 1, "sha256": ""})}
    header = json.dumps({"__metadata__": metadata, "a": info}).encode()
    (tmp_path / "bad").write_bytes(framed(header, bytes(4)))
    refused("cannot load '.*bad': it is cut short or damaged", read_tensors, tmp_path / "bad", "example", 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "it is a folder"),
        ("missing", "No such file"),
        ("pipe", "it is no regular file"),
        ("loop", "Too many"),
    ],
)
def test_what_is_no_file(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    refused(f"cannot load '.*{name}': {message}", read_tensors, tmp_path / name, "example", 1)


def test_fields():
    assert field({"eta": 0.5}, "eta", float) == 0.5
    refused("its description has no 'eta'", field, {}, "eta", float)
    refused("has 'eta': 1; wanted is of type float", field, {"eta": 1}, "eta", float)
    refused(r"has 'eta': \[0, 0, 0, 0, 0, 0, ...\]; wanted is of type float", field, {"eta": [0] * 1000}, "eta", float)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "t"
    write_tensors(path, TENSORS, DESCRIPTION)
    return path


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_bytes_are_found_or_do_not_matter(sound, tmp_path, data):
    content = bytearray(sound.read_bytes())
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
        for name, wanted in TENSORS.items():
            np.testing.assert_array_equal(tensors[name], wanted, strict=True)
    assert "\n" not in message


def test_every_flipped_bit_and_every_cut_is_found_or_does_not_matter(sound, tmp_path):
    content, path = sound.read_bytes(), tmp_path / "t"
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
    hostile = framed(b'{"a":[' + b"[]," * 10**6 + b"[]]}")
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
    """Except the cache of compiled code, which is machine code in any case, and whose digest is checked first."""
    root = Path(fastbp.__file__).parent
    sources = {*root.rglob("*.py"), *(root.parent / "kernels").rglob("*.py")}
    sources.remove(root.parent / "kernels/fastbp_kernels/cpu/jit_cache.py")
    assert len(sources) > 20
    for path in sources:
        assert not re.search(UNPICKLES, path.read_text(encoding="utf-8")), path
