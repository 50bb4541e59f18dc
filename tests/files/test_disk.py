"""Differences between systems when a file is written: flushing on macOS, and replacing open files on Windows."""

import errno
import os
from types import SimpleNamespace

import pytest

import fastbp
from fastbp.files import atomic, disk


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: made.append("fsync"))
    return made


def flush_of_macos(monkeypatch, calls, error=None):
    def fcntl(descriptor, command):
        calls.append(command)
        if error is not None:
            raise error

    monkeypatch.setattr(disk, "fcntl", SimpleNamespace(F_FULLFSYNC="full", fcntl=fcntl), raising=False)
    monkeypatch.setattr(disk, "_WINDOWS", False)


def test_on_macos_the_write_cache_of_the_disk_is_flushed(monkeypatch, calls, tmp_path):
    flush_of_macos(monkeypatch, calls)
    with atomic.write_atomically(tmp_path / "file") as file:
        file.write(b"content")
    assert calls[0] == "full"
    assert (tmp_path / "file").read_bytes() == b"content"


def test_where_macos_cannot_flush_the_write_cache_fsync_is_called(monkeypatch, calls):
    flush_of_macos(monkeypatch, calls, OSError(errno.ENOTSUP, "Operation not supported"))
    disk.flush_to_disk(0)
    assert calls == ["full", "fsync"]


def test_a_flush_that_fails_is_an_error(monkeypatch, calls):
    flush_of_macos(monkeypatch, calls, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        disk.flush_to_disk(0)
    assert calls == ["full"]


@pytest.fixture
def opened_elsewhere(monkeypatch):
    """Return a function that makes the next `times` attempts to replace a file fail, as if it were open elsewhere."""
    replace, tries = os.replace, []

    def refuse(times):
        def replaced(source, target):
            tries.append(target)
            if len(tries) <= times:
                raise PermissionError(errno.EACCES, "The process cannot access the file")
            replace(source, target)

        monkeypatch.setattr(os, "replace", replaced)
        return tries

    monkeypatch.setattr(disk.time, "sleep", lambda seconds: None)
    return refuse


@pytest.mark.parametrize("windows", [True, False])
def test_windows_retries_replacing_an_open_file(windows, monkeypatch, opened_elsewhere, tmp_path):
    monkeypatch.setattr(disk, "_WINDOWS", windows)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    tries = opened_elsewhere(2)

    def write():
        with atomic.write_atomically(path) as file:
            file.write(b"new")

    if windows:
        write()
        assert (len(tries), path.read_bytes()) == (3, b"new")
    else:
        with pytest.raises(fastbp.InputError, match=r"cannot write .*The process cannot access the file; nothing was"):
            write()
        assert (len(tries), path.read_bytes()) == (1, b"old")


def test_a_file_that_stays_open_is_not_changed(monkeypatch, opened_elsewhere, tmp_path):
    monkeypatch.setattr(disk, "_WINDOWS", True)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    tries = opened_elsewhere(1000)
    with (
        pytest.raises(fastbp.InputError, match=r"cannot write .*The process cannot access the file"),
        atomic.write_atomically(path) as file,
    ):
        file.write(b"new")
    assert len(tries) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"
