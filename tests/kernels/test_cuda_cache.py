"""Kernels for CUDA on disk: the next process compiles and links nothing, and damage only costs time."""

import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from fastbp_kernels.cpu.jit_cache import CheckedFiles
from fastbp_kernels.cuda import compilation, kernel_files, kernels

pytestmark = pytest.mark.cuda


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The kernels' files, in a new folder."""
    files = CheckedFiles(str(tmp_path), "cuda", ("0.30.4",))
    monkeypatch.setattr(kernel_files, "_files", lambda: files)
    return files


@pytest.fixture
def counted(monkeypatch):
    """Lists of the kernels that are compiled, and of those that are linked."""
    compiled, linked = [], []
    monkeypatch.setattr(
        compilation.Kernel, "_compiled", lambda self: compiled.append(self.name) or f"// {self.name} {self.parameters}"
    )
    monkeypatch.setattr(
        compilation.Kernel, "link", lambda self, to: linked.append((self.name, to)) or (f"{self.ptx} {to}".encode(), "")
    )
    return compiled, linked


def gather(source="uint8"):
    """Return a new kernel, as in a new process."""
    return kernels.gather.__wrapped__(source, "float32")


def test_the_next_process_finds_the_kernel(files, counted):
    first = [gather().linked("sm_90"), gather("float32").linked("sm_90"), gather().linked("sm_80")]
    assert [gather().linked("sm_90"), gather("float32").linked("sm_90"), gather().linked("sm_80")] == first
    assert len(set(first)) == 3
    assert counted == (["gather", "gather"], [("gather", "sm_90"), ("gather", "sm_90"), ("gather", "sm_80")])


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:40] + b"x" + data[41:], lambda data: b""]
)
def test_a_damaged_file_is_replaced(files, counted, damage, tmp_path):
    cubin = gather().linked("sm_90")
    for path in tmp_path.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert gather().linked("sm_90") == cubin
    assert gather().linked("sm_90") == cubin
    assert [len(names) for names in counted] == [2, 2]


def test_other_versions_of_the_compilers_compile_again(files, counted, tmp_path, monkeypatch):
    gather().linked("sm_90")
    newer = CheckedFiles(str(tmp_path), "cuda", ("0.30.5",))
    monkeypatch.setattr(kernel_files, "_files", lambda: newer)
    gather().linked("sm_90")
    assert [len(names) for names in counted] == [2, 2]


@pytest.mark.parametrize("nothing", ["no folder", "a full disk", "unreadable files"])
def test_files_that_cannot_be_used_only_cost_time(files, counted, nothing, monkeypatch, tmp_path):
    def fail(*arguments):
        raise OSError("No space left on device")

    if nothing == "no folder":
        monkeypatch.setattr(kernel_files, "_files", lambda: None)
    else:
        monkeypatch.setattr(files, "save" if nothing == "a full disk" else "load", fail)
    assert gather().linked("sm_90") == gather().linked("sm_90")
    assert [len(names) for names in counted] == [2, 2]
    assert nothing == "unreadable files" or not list(tmp_path.iterdir())


def times(factor):
    return lambda z: factor * z


def activate(formula):
    return kernels.activate.__wrapped__(formula, "float32", bias=True, keep_z=False)


def test_formulas_are_recognized_by_their_code_and_constants(files, counted):
    for factor in (2.0, 3.0, 2.0):
        assert activate(times(factor)).linked("sm_90")
    assert [len(names) for names in counted] == [2, 2]


def test_a_formula_with_an_object_that_has_no_value_is_not_kept(files, counted, tmp_path):
    class Unknown:
        factor = 2.0

    unknown = Unknown()
    for _ in range(2):
        activate(lambda z: unknown.factor * z).linked("sm_90")
    assert len(counted[0]) == 2


SECOND_PROCESS = """
from fastbp.backends.kernels_of_formulas import activate
from fastbp.activations import sigmoid
from fastbp_kernels.compile_events import on_compile
from fastbp_kernels.cuda import kernels

compiled = []
with on_compile(lambda: compiled.append(1)):
    for kernel in (kernels.gather("uint8", "float32"), activate(kernels, sigmoid, "float32", bias=True, keep_z=False)):
        assert kernel.linked("sm_90").startswith(b"\\x7fELF")
print(len(compiled))
"""


def test_a_second_process_compiles_nothing(run_python, tmp_path):
    said = [run_python(SECOND_PROCESS, NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(2)]
    assert [process.stdout.strip() for process in said] == ["2", "0"], said
