"""What `volcomp doctor` says: every part, the same to people and to programs, whatever the machine lacks."""

import importlib.util
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from volcomp import cli, doctor
from volcomp.gpu import device
from volcomp.runtime import compiled, vectors

PARTS = ["versions", "processor", "kernels", "threads", "memory", "cache", "gpu", "settings", "advice"]


@pytest.fixture(scope="module")
def found():
    return doctor.examine()


def labels(text):
    return [line[: doctor._INDENT].strip() for line in text.splitlines() if line[0] != " "]


def flat(text):
    """The lines of a report without their breaks."""
    return " ".join(text.split())


def test_every_part_is_in_the_report_and_fits_the_terminal(found):
    text = doctor.as_text(found)
    assert labels(text) == PARTS
    assert max(map(len, text.splitlines())) <= 80
    assert "cannot be found out" not in text


def test_people_and_programs_are_told_the_same(found):
    again = json.loads(json.dumps(found))
    text = flat(doctor.as_text(again))
    assert list(again) == PARTS and doctor.as_text(again) == doctor.as_text(found)
    for package in doctor._PACKAGES:
        assert f"{package} {again['versions'][package]}" in text
    assert again["processor"]["instructions"] in text and again["processor"]["name"] in text
    assert "fast, weights 128 × 128" in text and "base, weights 256 × 512" in text
    for model in again["kernels"]:
        for name, speed in model["gmacs"].items():
            assert speed > 0 and f"{name} {speed:.1f}" in text
        assert f"{model['chosen']} {model['gmacs'][model['chosen']]:.1f} taken" in text
    assert f"{again['threads']['usable']} of {again['threads']['cores']} cores" in text
    assert f"{again['cache']['files']} files" in text and again["cache"]["place"] in text
    assert (again["gpu"]["missing"] or again["gpu"]["name"]) in text


def test_the_vector_kernel_is_among_those_tried_where_there_is_one(found):
    has = vectors.instructions() != vectors.NONE
    for model in found["kernels"]:
        assert ("vector" in model["gmacs"], model["chosen"] == "vector") == (has, has)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command(capsys, monkeypatch, found, as_json):
    monkeypatch.setattr(doctor, "examine", lambda around: found)
    assert cli.main(["doctor", *["--json"] * as_json]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    if as_json:
        again = json.loads(out)
        assert again.pop("seconds") >= 0 and again == found
    else:
        assert out == doctor.as_text(found) + "\n"


def test_a_folder_that_cannot_be_written(monkeypatch):
    loop = SimpleNamespace(_cache=SimpleNamespace(cache_path="/proc/none/volcomp"))
    monkeypatch.setattr(compiled, "loops", [loop])
    monkeypatch.setattr(compiled, "_reasons", [])
    text = flat(doctor.as_text(doctor.examine()))
    assert "kept in /proc/none/volcomp not writable, 0 files" in text
    assert "the folder for compiled code cannot be written, or its disk is full: set NUMBA_CACHE_DIR" in text


def test_a_disk_without_room_for_compiled_code(tmp_path):
    assert doctor._is_writable(tmp_path / "new")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert not doctor._is_writable(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_code_that_is_not_kept(monkeypatch):
    monkeypatch.setattr(compiled, "loops", [SimpleNamespace(_cache=SimpleNamespace(cache_path=None))])
    monkeypatch.setattr(compiled, "_reasons", ["No space left on device"])
    found = doctor.examine()
    assert found["advice"][-1:] == [compiled.unkept()]
    assert "cache compiled code is not kept gpu" in flat(doctor.as_text(found))


def test_without_torch(monkeypatch):
    genuine = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else genuine(name))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    found = doctor.examine()
    assert found["versions"]["torch"] == "not installed"
    assert not any("torch_product" in model["gmacs"] for model in found["kernels"])
    assert "a GPU needs torch, which is not installed" in flat(doctor.as_text(found))
    assert not any("torch" in sentence for sentence in found["advice"])  # it is nothing amiss


@pytest.mark.parametrize("part", PARTS[:-1])
def test_a_part_that_cannot_be_found_out_says_so(monkeypatch, found, part):
    def fail():
        raise OSError("[Errno 5] Input/output error: '/data/Smith^John/disk'")

    for other in PARTS[:-1]:
        monkeypatch.setattr(doctor, f"_{other}", lambda other=other: found[other])
    monkeypatch.setattr(doctor, f"_{part}", fail)
    without = doctor.examine()
    text = doctor.as_text(without)
    assert labels(text) == PARTS and "Smith" not in text
    assert f"{part} cannot be found out: OSError: [Errno 5] Input/output error: '…/disk'" in flat(text)
    assert without["advice"][0].startswith(f"the {part} could not be found out")


def test_without_numba():
    """As a process of its own: nothing that needs it may have been imported before."""
    blocked = "import sys; sys.modules['numba'] = None; from volcomp import cli; sys.exit(cli.main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and labels(done.stdout) == PARTS
    assert "kernels cannot be found out: ModuleNotFoundError: import of numba halted" in flat(done.stdout)


def test_a_gpu(monkeypatch):
    torch = pytest.importorskip("torch")
    about = SimpleNamespace(name="NVIDIA H100", total_memory=85 * 10**9, major=9, minor=0)
    monkeypatch.setattr(device, "missing", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = doctor._gpu()
    assert found["missing"] is None and found["name"].startswith("NVIDIA H100, 85 GB, compute capability 9.0, CUDA")
    assert doctor._show_gpu({**found, "driver": "570.1"}) == [found["name"], "NVIDIA driver 570.1"]


def test_what_is_amiss(found):
    def advice(part, **facts):
        return doctor._advice({**found, "settings": {}, "cache": {"fault": None}, part: {**found[part], **facts}})

    assert not any("memory" in sentence for sentence in advice("memory", total=9 << 30, available=8 << 30))
    assert "memory is low" in advice("memory", available=1 << 30)[-1]
    assert "memory is low" in advice("memory", limit=1 << 30)[-1]
    assert "unset it" in advice("settings", NUMBA_DISABLE_JIT=1)[0]
    assert "set by NUMBA_CPU_NAME, which alone" in advice("settings", NUMBA_CPU_NAME="haswell")[0]
    assert "alone" not in advice("settings", NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="")[0]
    assert "no vector instructions" in advice("processor", instructions="none")[0]
    missing = "torch finds no GPU with a driver that works"
    assert missing in advice("gpu", missing=missing)
    assert "the build for the CPU" in advice("gpu", missing="the build for the CPU", driver="570.1")
    assert "the build for the CPU" not in advice("gpu", missing="the build for the CPU", driver=None)


def test_nothing_amiss(found):
    assert "nothing amiss" in doctor.as_text({**found, "advice": []})


def test_the_only_path_is_that_of_compiled_code(monkeypatch):
    home = Path("~").expanduser()
    assert doctor._home_as_tilde(str(home / "x" / "__pycache__")) == "~/x/__pycache__"
    assert doctor._home_as_tilde(str(home) + "er/x") == str(home) + "er/x"
    assert doctor._without_paths("no module at /home/me/lib/x.so: gone") == "no module at …/x.so: gone"
    assert doctor._without_paths(r"not C:\Users\me\x.dll") == "not …/x.dll"
