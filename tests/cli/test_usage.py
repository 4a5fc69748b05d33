"""Wrong use of the command line, likely mistakes, and help: what is said, and which option to try next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import COMMAND, call, fails, run
from tests.helpers import compress, series
from volcomp import __version__
from volcomp.cli.arguments import new_folder
from volcomp.cli.main import parser
from volcomp.container.sections import SERIES_VERSION

__all__ = ["call"]  # a fixture


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the series `small`, its archive `small.vcz`, and more."""
    folder = tmp_path_factory.mktemp("usage")
    series(folder / "small", 3, size=6)
    (folder / "small" / "docs").mkdir()
    (folder / "small" / "docs" / "report.txt").write_text("No finding.")
    compress([folder / "small"], folder / "small.vcz")
    (folder / "tree" / "p1").mkdir(parents=True)
    (folder / "tree" / "p1" / "ct.vcz").write_bytes((folder / "small.vcz").read_bytes())
    (folder / "tree" / "batch.csv").write_text("path\n")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    before = sorted(map(str, place.rglob("*")))
    yield place
    assert sorted(map(str, place.rglob("*"))) == before, "a mistake changes nothing"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compres", "small"], "there is no command 'compres'; did you mean volcomp compress?"),
        (["unzip", "small.vcz"], "there is no command 'unzip'; did you mean volcomp decompress?"),
        (["ls", "small.vcz"], "did you mean volcomp list?"),
        (["qqq"], "there is no command 'qqq'; volcomp help lists all"),
        (["help", "verfy"], "there is no command 'verfy'; did you mean volcomp verify?"),
        (["small"], "a command comes first, as in volcomp compress small"),
        (["small.vcz"], "a command comes first, as in volcomp decompress small.vcz"),
        (["--force", "compress", "small"], "--force comes after a command"),
        (["compress", "small", "--modle", "fast"], "volcomp compress has no option --modle; did you mean --model?"),
        (["compress", "--modle=fast", "small"], "did you mean --model?"),
        (["list", "--nams"], "volcomp list has no option --nams; did you mean --names?"),
        (["info", "small.vcz", "--effort", "3"], "--effort, which compress, append, batch and compare have"),
        (["compress", "small", "-f"], "volcomp compress has no option -f; did you mean --force?"),
        (["compress", "small", "--zzzz"], "volcomp compress has no option --zzzz; volcomp compress --help lists all"),
        (["decompress", "small.vcz", "out"], "'out' is one name too many for volcomp decompress; name the target with"),
        (["info", "small.vcz", "small.vcz"], "one name too many for volcomp info; see volcomp info --help"),
        (["compress"], "SERIES_DIR is missing; for example: volcomp compress CT -o ct.vcz"),
        (["batch", "tree"], "DEST is missing; for example: volcomp batch"),
        (["compress", "small", "--threads", "0"], "--threads: '0' is no number from 1 to 1024; see volcomp compress"),
        (["compress", "small", "--effort", "10"], "--effort: '10' is no effort from 1 (fastest) to 9 (smallest)"),
        (["compress", "small", "--effort", "7", "--model", "paper"], "which paper does not allow; give an effort of 1"),
        (["compress", "small", "-o", "sm.zip"], "'sm.zip' has the suffix of another format"),
        (["compress", "small", "-o", "sm.nii.gz"], "name it sm.nii.vcz"),
        (["repair", "small.vcz", "-o", "sm.tar"], "name it sm.vcz"),
        (["decompress", "small.vcz", "-o", "out.zip"], "what is written is a folder: name it out"),
        (["extract", "small.vcz", "docs", "-o", "out.vcz"], "what is written is a folder: name it out"),
        (["protect", "-"], "protect changes an archive and cannot read it from standard input; name a file"),
        (["repair", "-"], "repair changes an archive and cannot read it from standard input; name a file"),
        (["precompile", "--for", "abacus"], "--for 'abacus' is no class of processors; take one of avx2"),
    ],
    ids=" ".join,
)
def test_wrong_use(words, sentence, here, call):
    result = call(*words)
    fails(result, sentence, code=2)
    assert result[1] == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compress", "small", "new.vcz"], "name the target with -o: volcomp compress small -o new.vcz"),
        (
            ["compress", "small", "small.vcz"],
            "volcomp append small.vcz small adds to it, and volcomp compress",
        ),
        (["compress", "small.vcz"], "an archive already; volcomp decompress small.vcz restores it, and volcomp append"),
        (["compress", "small.vcz", "-o", "x.vcz"], "an archive already"),
        (["compress", "small", "-o", "small.vcz"], "small.vcz exists; --force overwrites it"),
        (
            ["decompress", "small"],
            "small cannot be read: it is a folder; name an archive; volcomp compress small",
        ),
        (["decompress", "tree/p1"], "name an archive in it, as tree/p1/ct.vcz, or restore all: volcomp batch tree/p1"),
        (["verify", "tree/p1"], "name an archive in it, as tree/p1/ct.vcz"),
        (["protect", "tree"], "name an archive in it, as tree/p1/ct.vcz"),
        (["append", "small", "tree"], "small cannot be read: it is a folder"),
        (["info", "small"], "it is a folder; name an archive"),
        (["info", "tree/p1/ct"], "tree/p1/ct cannot be read: there is no such file; did you mean tree/p1/ct.vcz?"),
        (["batch", "tree", "out"], "to restore them add --decompress: volcomp batch tree out --decompress"),
        (["batch", "small.vcz", "out"], "one archive, and no folder or list of them; volcomp decompress small.vcz"),
        (["extract", "small.vcz", "report.txt"], "did you mean 'docs/report.txt'? volcomp list shows all names"),
        (["extract", "small.vcz", "IM001.dcm"], "did you mean 'IM0001.dcm'"),
        (["extract", "small.vcz", "other/IM0001.dcm"], "did you mean 'IM0001.dcm'? volcomp list"),
        (
            ["extract", "small.vcz", "zzzzzzzzzzzz"],
            "its names look like 'docs/report.txt', and volcomp list",
        ),
        (["extract", "small.vcz", "--series", "9.9"], "it holds no volume or series 9.9"),
    ],
    ids=" ".join,
)
def test_likely_mistakes(words, sentence, here, call):
    result = call(*words)
    fails(result, sentence)
    assert result[1] == ""


def test_names_below_the_archived_folder_are_found(place, call, tmp_path):
    code, out, _ = call("extract", place / "small.vcz", "small/docs", "./small/IM*1.dcm", "-o", tmp_path / "out")
    assert code == 0 and "2 files" in out
    assert sorted(os.listdir(tmp_path / "out")) == ["IM0001.dcm", "docs"]


def test_names_may_follow_options(place, call, tmp_path):
    words = ["--threads", "1", place / "small.vcz", "-o", tmp_path / "out", "docs", "--json", "IM0001.dcm"]
    assert call("extract", *words)[0] == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["IM0001.dcm", "docs"]
    assert call("compress", tmp_path / "out" / "docs", "-o", tmp_path / "x.vcz", place / "tree")[0] == 0
    assert call("list", "--names", tmp_path / "x.vcz")[1].split()[0::2] == ["docs", "tree", "tree/p1"]


def test_what_is_restored_may_have_the_suffix_of_an_image():
    assert [new_folder(name) for name in ("ct.nii.gz", "ct.nrrd", "ct")] == [*map(Path, ("ct.nii.gz", "ct.nrrd", "ct"))]


def test_archives_in_a_folder_are_archived(place, call, tmp_path):
    assert call("compress", place / "tree", "-o", tmp_path / "x.vcz")[0] == 0
    assert call("list", "--names", tmp_path / "x.vcz")[1].split() == ["batch.csv", "p1", "p1/ct.vcz"]


def test_a_batch_of_archives_among_other_files_is_one_of_files(place, call, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note").write_text("note")
    (tmp_path / "in" / "ct.vcz").write_bytes((place / "small.vcz").read_bytes())
    assert call("batch", tmp_path / "in", tmp_path / "out", "--jobs", "1")[0] == 0


@pytest.mark.parametrize("words", [["decompress"], ["verify"], ["info"], ["list"], ["protect"], ["extract", "docs"]])
def test_a_damaged_archive_names_the_way_to_what_is_left(words, place, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.vcz").write_bytes((place / "small.vcz").read_bytes()[:-1])
    fails(call(words[0], "x.vcz", *words[1:]), "; decompress --salvage restores what is undamaged")
    Path("x.vcz").write_text("note")
    result = call(words[0], "x.vcz", *words[1:])
    fails(result, "this is no volcomp archive")
    assert "salvage" not in result[2]


def test_without_a_command_there_is_help(call):
    code, out, error = call()
    assert code == 2 and out == "" and error.startswith("usage: volcomp COMMAND") and "decompress" in error


@pytest.mark.parametrize("words", [["help"], ["--help"], ["help", "help"]])
def test_help(words, call):
    code, out, error = call(*words)
    assert code == 0 and error == "" and out.startswith("usage: volcomp COMMAND")
    assert "volcomp help COMMAND" in out
    for meaning in "0 done", "1 not possible", "2 wrong use", "130 interrupted":
        assert meaning in " ".join(out.split())


@pytest.mark.parametrize("command", parser().commands)
def test_help_of_a_command_has_an_example_and_the_exit_codes(command, call):
    code, out, _ = call("help", command)
    assert code == 0 and out == call(command, "--help")[1]
    text = " ".join(out.split())
    assert f"Example: volcomp {command}" in text and "2 wrong use" in text
    words = parser().commands[command].example.replace("'", "").split()[1:]
    assert parser().parse_args(words).run


def test_the_version_states_those_of_the_format(call):
    code, out, _ = call("--version")
    assert code == 0 and out.startswith(f"volcomp {__version__}: reads format versions 1 to {SERIES_VERSION}, writes ")


@pytest.mark.parametrize(
    "words", [["--help"], ["help", "batch"], ["list", "small.vcz"], ["info", "--json", "small.vcz"]]
)
def test_a_reader_that_has_seen_enough(words, place):
    with subprocess.Popen([*COMMAND, *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_an_interrupt_while_the_command_line_is_read(call, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["volcomp.cli.main"], "parsed", stop)
    fails(call("info", "x"), "interrupted", code=130)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_failure_of_volcomp_itself_is_a_sentence(options, tmp_path):
    program = (
        "import sys, volcomp.cli.info as info\n"
        "def fail(*arguments): raise ZeroDivisionError('division by zero')\n"
        "info.source = fail\n"
        "from volcomp.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "info", "x", *options], capture_output=True, text=True)
    fails(done, "volcomp itself failed: ZeroDivisionError: division by zero; please report this")
    assert done.stdout.startswith('{"error": "volcomp itself failed') == bool(options)
    done = subprocess.run([sys.executable, "-c", program, "--traceback", "info", "x"], capture_output=True, text=True)
    assert "Traceback" in done.stderr


def test_a_command_of_its_own_process(here):
    fails(run("compres", cwd=here), "did you mean volcomp compress?", code=2)


@pytest.mark.parametrize("command", sorted(parser().commands))
def test_each_option_has_one_line_of_help(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    own = parser().commands[command]
    lines = own.format_help().splitlines()
    assert max(map(len, lines)) <= 80
    for action in own._actions:
        name = ", ".join(action.option_strings) or str(action.metavar)
        assert action.help, name
        (line,) = [line for line in lines if line.startswith(f"  {name}") and line[2 + len(name)] in " "]
        text = " ".join(line.split())
        assert text.endswith(" ".join((action.help % vars(action)).split()) if "%" in action.help else action.help)
