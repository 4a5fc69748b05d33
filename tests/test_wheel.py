"""The package as others install it: a wheel in an empty environment, which does the main job."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import volcomp
from benchmarks import phantom
from benchmarks.command import same_files

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.long


def run(*command: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tree = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("tree")
    # A copy, since a build leaves folders behind.
    run("git", "clone", "--quiet", "--no-local", ROOT, tree / "volcomp", cwd=tree)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ".", cwd=tree / "volcomp")
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_has_what_runs_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith(f"volcomp-{volcomp.__version__}-")
    names = zipfile.ZipFile(wheel).namelist()
    assert "volcomp/py.typed" in names and "neighbourhoods/py.typed" in names
    assert sum(name.endswith(".npz") for name in names) == 14  # the models
    package = [name for name in names if ".dist-info/" not in name]
    page = [name for name in package if name.startswith(("volcomp/serve/web/static/", "volcomp/serve/web/templates/"))]
    assert {Path(name).suffix for name in page} == {".css", ".html", ".js", ".svg", ".txt"}
    assert "volcomp/serve/web/static/niivue-0.69.0.umd.js" in page
    assert {Path(name).suffix for name in set(package) - set(page)} == {".py", ".npz", ".typed"}
    assert {name.split("/")[0] for name in package} == {"volcomp", "neighbourhoods"}


def test_it_does_the_main_job_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    bin = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    run(bin / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)
    phantom.write(tmp_path / "series", phantom.scan()[:4])
    run(bin / "volcomp", "compress", "series", cwd=tmp_path)
    run(bin / "volcomp", "decompress", "series.vcz", "-o", "restored", cwd=tmp_path)
    assert same_files(tmp_path / "series", tmp_path / "restored")
    code = "import sys, volcomp; volcomp.inspect('series.vcz'); print('torch' in sys.modules, 'numba' in sys.modules)"
    assert run(bin / "python", "-c", code, cwd=tmp_path).split() == ["False", "False"]
