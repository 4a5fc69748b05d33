"""`volcomp serve`: what it prints, what stops it, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.test_cli import call, fails
from tests.serve.makers import packed, study, uid

__all__ = ["call"]  # a fixture
WAIT = 900  # seconds that no test comes near


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with one archive."""
    folder = tmp_path_factory.mktemp("serve")
    packed(study(folder / "ann", "Ann", slices=3), folder / "tree" / "ann.vcz")
    return folder / "tree"


@contextlib.contextmanager
def serving(*words: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and the line that it prints."""
    command = [sys.executable, "-m", "volcomp", "serve", *map(str, words), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline()
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_says_where_it_listens_and_ends_in_order(tree, number, code):
    with serving(tree, "--json") as (process, line):
        said = json.loads(line)
        assert said["root"] == str(tree) and said["dicomweb"] == said["url"] + "dicom-web"
        (found,) = httpx.get(f"{said['dicomweb']}/studies", timeout=WAIT).json()
        assert found["0020000D"]["Value"] == [uid("Ann")]
        process.send_signal(number)
        out, error = process.communicate(timeout=WAIT)
        assert process.returncode == code
        assert out == ('{"error": "interrupted"}\n' if code else "")
        assert error == ("volcomp: interrupted\n" if code else "")


def test_the_line_for_people(tree):
    with serving(tree, "--read-only") as (process, line):
        url = line.split()[1]
        assert line == f"{tree}: {url} for people, {url}dicom-web for programs\n"
        got = httpx.post(f"{url}dicom-web/studies", headers={"Content-Type": "application/dicom"}, timeout=WAIT)
        assert got.status_code == 403
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT)
        assert process.returncode == 0


def test_a_port_that_is_taken(tree, call):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fails(
            call("serve", tree, "--port", port),
            f"nothing can listen at port {port} of 127.0.0.1: Address already in use",
        )


def test_folders_that_are_none(tree, call, tmp_path):
    fails(call("serve", tmp_path / "gone"), "cannot be served: there is no such folder")
    (tmp_path / "file").write_text("file")
    fails(call("serve", tmp_path / "file"), "cannot be served: it is no folder")
    fails(call("serve", tree, "--port", 0, "--token-file", tmp_path / "gone"), "cannot be read: No such file")
    fails(call("serve", tree, "--port", 0, "--audit", tmp_path / "gone" / "x"), "cannot be written")
    elsewhere = call("serve", tree, "--port", 0, "--host", "192.0.2.1", "--i-know")  # of no machine: RFC 5737
    fails(elsewhere, "nothing can listen at port 0 of 192.0.2.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_off_this_machine_somebody_must_be_named(tree, call, host):
    fails(call("serve", tree, "--host", host), "say who may ask with --token-file or --htpasswd", code=2)


@pytest.mark.parametrize(("words", "sentence"), [
    (["--port", "99999"], "'99999' is no port from 0 to 65535"), (["--port", "x"], "'x' is no port"),
    (["--memory", "much"], "is no size"), (["--quiet", "-1"], "is no number of seconds"),
    (["--quiet", "nan"], "is no number of seconds"), (["--allow-origin", "viewer"], "is no origin"),
    (["--allow-origin", "https://a/b"], "is no origin"), (["--token-file", "a", "--htpasswd", "b"], "give one of them"),
    (["--inbox", "in", "--read-only"], "--read-only takes nothing in"),
])  # fmt: skip
def test_wrong_use(tree, call, words, sentence):
    fails(call("serve", tree, *words), sentence, code=2)


def test_an_extra_that_is_not_installed(tree):
    program = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from volcomp.cli import main\n"
        f"sys.exit(main(['serve', {str(tree)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT)
    fails(done, "serve needs uvicorn, which is not installed: pip install 'volcomp[serve]'")
