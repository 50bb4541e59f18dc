"""MNIST from mirrors that fail in every way, on the loopback interface."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from refusals import refused
from test_datasets import NAMES, four_files

from fastbp.datasets import load, mnist, mnist_files

pytest.importorskip("pooch")
FILES = four_files()[0]


class Mirror(BaseHTTPRequestHandler):
    """Answers according to the first part of the path: /good/…, /wrong/…, and so on."""

    def do_GET(self):
        _, manner, name = self.path.split("/")
        self.server.asked.append((manner, name))
        packed = gzip.compress(FILES[name.removesuffix(".gz")], mtime=0)
        if manner == "absent":
            self.send_error(404)
            return
        self.send_response(200)
        if manner == "transcoding":  # Google's storage may decompress on the way, or ask the client to
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        getattr(self, manner, self.good)(packed)

    def good(self, packed):
        self.wfile.write(packed)

    def wrong(self, packed):
        self.wfile.write(gzip.compress(b"something else of any length")[: len(packed)].ljust(len(packed), b"\0"))

    def no_gzip(self, packed):
        self.wfile.write(b"<html>Log in to this hotel's network</html>".ljust(len(packed)))

    def cut_off(self, packed):
        self.wfile.write(packed[: len(packed) // 2])
        self.close_connection = True

    def slow(self, packed):
        self.wfile.write(packed[:10])
        self.wfile.flush()
        self.server.stopped.wait(5)

    def dripping(self, packed):
        for byte in gzip.compress(bytes(2**20))[:-8]:
            if self.server.stopped.wait(0.01):
                return
            self.wfile.write(bytes([byte]))

    def log_message(self, *_):
        pass


@pytest.fixture
def mirrors(monkeypatch):
    """Replace MNIST by four small files; return a function that sets the mirrors, and returns the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.daemon_threads = False
    server.asked, server.stopped = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    monkeypatch.setattr(mnist_files, "SUMS", sums)
    monkeypatch.setattr(mnist_files, "TIMEOUT", 0.3)
    monkeypatch.delenv("FASTBP_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def choose(*manners):
        base = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(mnist_files, "MIRRORS", tuple(f"{base}/{manner}/" for manner in manners))
        return server

    yield choose
    server.stopped.set()
    server.shutdown()
    server.server_close()
    thread.join()


def assert_whole(parts, folder):
    assert [x.shape for x, _ in parts] == [(6, 10), (6, 2), (6, 4)]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_the_first_mirror_is_good(mirrors, tmp_path):
    server = mirrors("good", "absent")
    parts = mnist(tmp_path / "new" / "folder")
    assert_whole(parts, tmp_path / "new" / "folder")
    assert isinstance(parts[0][0], np.memmap)  # decompressed, so that it can be mapped
    assert server.asked == [("good", f"{name}.gz") for name in NAMES]
    mnist(tmp_path / "new" / "folder")
    assert len(server.asked) == 4  # not asked again


@pytest.mark.parametrize("manner", ["wrong", "no_gzip", "cut_off", "slow", "absent"])
def test_the_next_mirror_is_asked_if_one_fails(mirrors, tmp_path, manner):
    server = mirrors(manner, "good")
    assert_whole(mnist(tmp_path), tmp_path)
    assert server.asked[:2] == [(manner, f"{NAMES[0]}.gz"), ("good", f"{NAMES[0]}.gz")][: len(server.asked)]


def test_a_mirror_may_decompress_on_the_way(mirrors, tmp_path):
    mirrors("transcoding")
    assert_whole(mnist(tmp_path), tmp_path)


def test_a_mirror_that_never_answers_is_passed_over(mirrors, tmp_path, monkeypatch):
    mirrors("good")
    monkeypatch.setattr(mnist_files, "MIRRORS", ("http://127.0.0.1:9/", "nonsense", *mnist_files.MIRRORS))
    assert_whole(mnist(tmp_path), tmp_path)


def test_a_mirror_that_sends_a_byte_now_and_then_meets_a_deadline(mirrors, tmp_path, monkeypatch):
    mirrors("dripping")
    monkeypatch.setattr(mnist_files, "DEADLINE", 0.2)
    refused("not finished after 0.2 s", mnist, tmp_path)


def test_a_mirror_that_never_ends_meets_a_limit(mirrors, tmp_path, monkeypatch):
    mirrors("good")
    monkeypatch.setattr(mnist_files, "_LARGEST", 20)
    refused("more than 20 bytes", mnist, tmp_path)


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("wrong", "hash of downloaded file"),
        ("no_gzip", "hash of downloaded file"),
        ("cut_off", "IncompleteRead|hash of downloaded file"),
        ("slow", "timed out"),
        ("absent", "404"),
    ],
)
def test_if_all_mirrors_fail_no_file_is_left_and_the_error_names_the_files(mirrors, tmp_path, manner, reason):
    mirrors(manner, manner)
    error = refused(f"^MNIST could not be downloaded .*{manner}/: .*({reason})", mnist, tmp_path)
    assert error.endswith(f"; put {', '.join(f'{name}.gz' for name in NAMES)} into {tmp_path} by hand")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_are_not_downloaded(mirrors, tmp_path):
    server = mirrors("good")
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(FILES[NAMES[0]]))
    mnist(tmp_path)
    assert server.asked == [("good", f"{name}.gz") for name in NAMES[1:]]


def test_a_folder_that_cannot_be_created_is_refused(mirrors, tmp_path):
    mirrors("good")
    (tmp_path / "file").write_text("")
    refused("MNIST could not be downloaded .*into .*file/mnist by hand", mnist, tmp_path / "file" / "mnist")


def test_the_default_folder_is_the_users_cache(mirrors, tmp_path, monkeypatch):
    mirrors("good")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    monkeypatch.setenv("FASTBP_DATA", str(tmp_path))  # without any of the files
    assert_whole(load("mnist"), tmp_path / "fastbp" / "mnist")
