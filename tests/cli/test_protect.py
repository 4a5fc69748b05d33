"""`volcomp protect` and `volcomp repair`, and what the other commands say of files with parity."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

import volcomp
from tests.helpers import compress, contents, series
from volcomp import cli
from volcomp.archive import files, protect
from volcomp.cli.arguments import encode_options
from volcomp.cli.main import parser
from volcomp.container import parity
from volcomp.wire.cursor import varint

COMMAND = [sys.executable, "-m", "volcomp"]


@pytest.fixture
def call(capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""
    handler = signal.getsignal(signal.SIGTERM)

    def run_here(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
        return (code, *capsys.readouterr())

    yield run_here
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An archive of files, as bytes."""
    folder = tmp_path_factory.mktemp("plain")
    series(folder / "ct", 6, size=24)
    compress([folder / "ct"], folder / "ct.vcz")
    return (folder / "ct.vcz").read_bytes()


@pytest.fixture
def path(plain, tmp_path):
    path = tmp_path / "ct.vcz"
    path.write_bytes(plain)
    return path


@pytest.fixture
def sound(path):
    """The bytes of an archive with parity, which is at `path`."""
    volcomp.protect(path, 0.05)
    return path.read_bytes()


def fails(result, sentence):
    """One sentence on standard error, exit code 1."""
    code, out, error = result
    assert code == 1, out
    assert error.startswith("volcomp: ") and error.count("\n") == 1 and "Traceback" not in error
    assert sentence in error


def flip(path, *offsets):
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 255
    path.write_bytes(data)


def too_much(path):
    """Damage every block of the archive."""
    flip(path, *range(0, path.read_bytes().index(b"\x89VCP"), 64))


def test_compress_with_parity_is_compress_and_protect(call, tmp_path):
    folder, one, other = series(tmp_path / "ct", 6, size=24), tmp_path / "x.vcz", tmp_path / "y.vcz"
    assert call("compress", folder, "-o", one, "--parity", "3%")[0] == 0
    assert call("compress", folder, "-o", other, "--parity", "0")[0] == 0
    plain = other.read_bytes()
    code, out, _ = call("protect", other, "--parity", "3%")
    assert code == 0 and " of parity, which repairs one stretch of " in out
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes().startswith(plain) and one.stat().st_size > len(plain)


def test_parity_is_replaced_and_removed(call, path, plain, sound):
    assert call("protect", path, "--parity", "5%")[0] == 0
    assert path.read_bytes() == sound
    assert call("protect", path, "--parity", "10%")[0] == 0
    assert len(path.read_bytes()) > len(sound)
    code, out, _ = call("protect", path, "--parity", "0", "--json")
    assert code == 0 and json.loads(out)["share"] == 0
    assert path.read_bytes() == plain


def test_everything_works_with_parity(call, path, plain, sound, tmp_path):
    code, out, _ = call("verify", path)
    assert code == 0 and out.startswith("sound: ")
    assert call("decompress", path, "-o", tmp_path / "out")[0] == 0
    path.write_bytes(plain)
    assert call("decompress", path, "-o", tmp_path / "out2")[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "out2") != {}


def test_info_names_the_parity(call, path, plain):
    assert "parity for" not in call("info", path)[1]
    assert json.loads(call("info", path, "--json")[1])["parity"] is None
    made = volcomp.protect(path, 0.05)
    code, out, _ = call("info", path)
    assert code == 0 and f"parity for {100 * made.share:.2f} % of the file" in out
    report = volcomp.inspect(path)
    assert report.parity.share >= 0.05 and report.parity.stretch == report.parity.share * report.size
    assert report.sections["PARITY"] == report.parity.bytes == path.stat().st_size - len(plain)
    assert sum(report.sections.values()) == report.size
    flip(path, path.read_bytes().rindex(b"\x89VCP") + 20)
    with pytest.raises(volcomp.DamagedError, match=r"description of the parity is damaged; volcomp\.repair"):
        volcomp.inspect(path)


def test_a_file_is_repaired_and_the_damaged_one_kept(call, path, sound, tmp_path):
    flip(path, 700, 705, len(sound) - 3)
    damaged = path.read_bytes()
    path.chmod(0o640)
    code, out, _ = call("repair", path)
    assert code == 0 and out.startswith(f"repaired: {path}, damaged blocks: 1 of ") and "ct.vcz.damaged" in out
    assert path.read_bytes() == sound
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "ct.vcz.damaged").read_bytes() == damaged
    assert sorted(os.listdir(tmp_path)) == ["ct.vcz", "ct.vcz.damaged"]


def test_a_repaired_file_is_sound(call, path, sound, tmp_path):
    flip(path, 700)
    assert call("repair", path)[0] == 0
    for arguments in (["repair", path], ["repair", path, "-o", tmp_path / "other.vcz"]):
        code, out, _ = call(*arguments)
        assert code == 0 and "is sound; nothing was written" in out
    assert json.loads(call("repair", path, "--json")[1])["repaired"] is False
    assert not (tmp_path / "other.vcz").exists()
    flip(path, 800)
    fails(call("repair", path), "ct.vcz.damaged exists, from an earlier repair")
    assert path.read_bytes() != sound


def test_a_file_is_repaired_to_another(call, path, sound, tmp_path):
    flip(path, 700)
    damaged, other = path.read_bytes(), tmp_path / "other.vcz"
    code, out, _ = call("repair", path, "-o", other, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["output"] == str(other) and facts["kept"] is None and facts["damaged_blocks"] == 1
    assert other.read_bytes() == sound and path.read_bytes() == damaged
    fails(call("repair", path, "-o", other), "exists; --force overwrites it")
    other.write_bytes(b"old")
    assert call("repair", path, "-o", other, "--force")[0] == 0
    assert other.read_bytes() == sound
    assert sorted(os.listdir(tmp_path)) == ["ct.vcz", "other.vcz"]


def test_a_link_is_followed(call, path, sound, tmp_path):
    (tmp_path / "sub").mkdir()
    link = tmp_path / "sub" / "link.vcz"
    link.symlink_to(path)
    flip(path, 700)
    assert call("repair", link)[0] == 0
    assert link.is_symlink() and path.read_bytes() == sound


def test_more_damage_than_can_be_repaired(call, path, sound, tmp_path):
    too_much(path)
    damaged = path.read_bytes()
    for arguments in (["repair", path], ["repair", path, "-o", tmp_path / "other.vcz"]):
        fails(call(*arguments), "ct.vcz cannot be repaired: ")
        assert path.read_bytes() == damaged
        assert os.listdir(tmp_path) == ["ct.vcz"]
    fails(call("verify", path), "more than its parity can repair")


def test_parity_that_is_damaged_too(call, path, sound):
    flip(path, *range(0, len(sound), 50))
    fails(call("repair", path), "no sound parity is in it, so that it cannot be repaired")
    fails(call("verify", path), "no volcomp archive")


def test_damaged_files_name_the_repair(call, path, sound, tmp_path):
    for offsets in ([700], [3], [len(sound) - 1], [len(sound) - 200], [len(sound) - 700]):
        path.write_bytes(sound)
        flip(path, *offsets)
        fails(call("verify", path), "volcomp repair restores")
        facts = json.loads(call("verify", path, "--json")[1])
        assert not facts["sound"] and "volcomp repair" in facts["error"]
        fails(call("protect", path), "volcomp repair")
    path.write_bytes(sound)
    flip(path, 700)
    fails(call("decompress", path, "-o", tmp_path / "out"), "volcomp repair may restore it")


def test_cut_files_and_appended_bytes(call, path, sound):
    for data in (sound[:-1], sound[: -len(sound) // 20], sound + b"rubbish" * 1000, b"rubbish" + sound):
        path.write_bytes(data)
        fails(call("verify", path), "volcomp repair")
        assert call("repair", path)[0] == 0
        assert path.read_bytes() == sound
        path.with_name("ct.vcz.damaged").unlink()


@pytest.mark.parametrize("command", ["protect", "repair"])
def test_what_is_no_archive(call, command, tmp_path, plain):
    name = tmp_path / "x.vcz"
    fails(call(command, name), "cannot be read: No such file")
    name.write_bytes(b"")
    fails(call(command, name), "no volcomp archive")
    name.write_bytes(b"some text\n" * 100)
    fails(call(command, name), "no volcomp archive")
    name.write_bytes(plain[:-1])
    fails(call(command, name), "cut short")
    fails(call(command, tmp_path), "cannot be read: it is a folder; name an archive")
    assert os.listdir(tmp_path) == ["x.vcz"] and name.read_bytes() == plain[:-1]


def test_files_without_parity(call, path, plain):
    fails(call("repair", path), "has no parity and is not repaired")
    flip(path, 700)
    fails(call("protect", path), "damaged")
    assert call("verify", path)[0] == 1


def test_an_archive_of_protected_archives_has_no_parity(call, path, sound, tmp_path, monkeypatch):
    monkeypatch.setattr("volcomp.archive.whole.pack_blob", lambda raw: b"\0" + varint(len(raw)) + raw)
    (tmp_path / "in").mkdir()
    flip(path, 13)  # where this file is damaged, so that it has no sound first block
    path.rename(tmp_path / "in" / "ct.vcz")
    assert call("compress", tmp_path / "in", "-o", tmp_path / "out.vcz")[0] == 0
    assert b"\x89VCP" in (tmp_path / "out.vcz").read_bytes()
    assert call("verify", tmp_path / "out.vcz")[0] == 0
    fails(call("repair", tmp_path / "out.vcz"), "has no parity")


@pytest.mark.parametrize("text", ["80%", "0.5%", "2", "x", "-1%", "nan%", "%"])
def test_impossible_shares(call, path, text):
    code, _, error = call("protect", path, f"--parity={text}")
    assert code == 2 and "is no share from 1% to 50%" in error
    with pytest.raises(volcomp.UnsupportedError, match="from 1% to 50%"):
        volcomp.protect(path, 0.8)
    with pytest.raises(volcomp.UnsupportedError, match="from 1% to 50%"):
        volcomp.compress_files(path, path.with_name("other.vcz"), parity=0.8)


def test_arrays(tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (3, 20, 30), np.uint8)
    path = tmp_path / "array.vcz"
    path.write_bytes(volcomp.compress(array))
    volcomp.protect(path)
    good = path.read_bytes()
    assert (volcomp.decompress(good) == array).all()
    flip(path, 100)
    with pytest.raises(volcomp.DamagedError, match=r"volcomp\.repair may restore it"):
        volcomp.decompress(path)
    done = volcomp.repair(path)
    assert done.damaged == 1 and done.output == path
    assert path.read_bytes() == good


def test_a_full_disk(path, plain, tmp_path):
    """No file may grow beyond some bytes, which the system reports much as it does a full disk."""
    for limit in (1000, len(plain) + 100):

        def allow_little(limit=limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = subprocess.run(
            [*COMMAND, "protect", path], capture_output=True, text=True, timeout=900, preexec_fn=allow_little
        )
        fails((done.returncode, done.stdout, done.stderr), "cannot be written: it would exceed the largest size")
        assert path.read_bytes() == plain and os.listdir(tmp_path) == ["ct.vcz"]
    volcomp.protect(path)
    flip(path, 700)
    damaged = path.read_bytes()
    done = subprocess.run(
        [*COMMAND, "repair", path], capture_output=True, text=True, timeout=900, preexec_fn=allow_little
    )
    fails((done.returncode, done.stdout, done.stderr), "cannot be written: it would exceed the largest size")
    assert path.read_bytes() == damaged and os.listdir(tmp_path) == ["ct.vcz"]


@pytest.mark.parametrize("where", ["write", "sha256_of", "_ending"])
def test_an_interrupt_leaves_the_file_untouched(path, plain, monkeypatch, tmp_path, where):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(parity, where, stop)
        with pytest.raises(KeyboardInterrupt):
            volcomp.protect(path)
    assert path.read_bytes() == plain and os.listdir(tmp_path) == ["ct.vcz"]


@pytest.mark.parametrize("links", [True, False])
def test_an_interrupt_of_a_repair_loses_nothing(path, sound, monkeypatch, tmp_path, links):
    """At the last moment, when the damaged file has been given its second name."""
    flip(path, 700)
    damaged = path.read_bytes()

    def stop(*arguments):
        raise KeyboardInterrupt

    def no_links(*arguments):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", stop)
        if not links:
            patched.setattr(protect.os, "link", no_links)
        with pytest.raises(KeyboardInterrupt):
            volcomp.repair(path)
        assert path.read_bytes() == damaged and os.listdir(tmp_path) == ["ct.vcz"]
        patched.undo()
        if not links:
            patched.setattr(protect.os, "link", no_links)
        volcomp.repair(path)
    assert path.read_bytes() == sound and sorted(os.listdir(tmp_path)) == ["ct.vcz", "ct.vcz.damaged"]


def test_help_imports_nothing_that_takes_long():
    program = (
        "import sys\n"
        "from volcomp import cli\n"
        "try: sys.exit(cli.main(sys.argv[1:]))\n"
        "finally: print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    heavy = {"constriction", "llvmlite", "numba", "numpy", "pydicom", "torch", "tqdm", "zstandard"}
    for command in ("protect", "repair"):
        done = subprocess.run([sys.executable, "-c", program, command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and not heavy & set(done.stderr.split())


def test_protecting_imports_no_numba(path):
    program = "import sys, volcomp; volcomp.protect(sys.argv[1]); volcomp.repair(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"numba", "torch", "pydicom"} & set(done.stdout.split())


@pytest.mark.parametrize("command", ["compress", "batch"])
def test_the_option_reaches_the_encoder(command):
    options = parser().parse_args([command, "in", *["out"] * (command == "batch"), "--parity", "3%"])
    assert encode_options(options).parity == 0.03
