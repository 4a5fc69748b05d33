"""What commands print: the same keys of JSON for the same things, an object for errors too, and short texts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import volcomp
import volcomp.precompile
import volcomp.serve.app
from tests.cli.test_cli import call, fails, without_compiling
from tests.helpers import compress, damage, image, noise, series
from volcomp.cli.decompress import _grouped
from volcomp.cli.output import amount, held, plural
from volcomp.container.sections import SLAB, SectionId

__all__ = ["call"]  # a fixture

COUNTS = {"files": 4, "folders": 2, "links": 1}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three images, a note, two folders and a link."""
    folder = tmp_path_factory.mktemp("output")
    series(folder / "ct", 3, size=6)
    (folder / "ct" / "note").write_text("note")
    (folder / "ct" / "a" / "b").mkdir(parents=True)
    (folder / "ct" / "link").symlink_to("note")
    return folder


@pytest.fixture
def archive(study, tmp_path):
    compress([study / "ct"], tmp_path / "ct.vcz")
    return tmp_path / "ct.vcz"


def one_object(out):
    """The only line of standard output, as an object."""
    assert out.count("\n") == 1
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("count", "text"), [
    (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.00 kB"), (45_678, "45.68 kB"), (1_234_567, "1.23 MB"),
    (5_000_000_000, "5.00 GB"), (12_345_000_000_000, "12345.00 GB"),
])  # fmt: skip
def test_amounts_of_bytes(count, text):
    assert amount(count) == text


def test_plurals():
    assert [plural(1, "slab"), plural(2, "slab"), plural(2, "more series", "more series")] == [
        "1 slab", "2 slabs", "2 more series"
    ]  # fmt: skip
    assert held(1) == "1 file" and held(2, 1, 3) == "2 files, 1 folder, 3 links"
    assert held(0) == "0 files, 0 folders" and held(0, 0, 1) == "0 files, 1 link"


def documented():
    """The keys of each command, as docs/api.md has them."""
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?`) \| ([a-z, ]+) \|", text, re.MULTILINE)
    keys: dict[str, set[str]] = {}
    for names, commands in rows:
        for command in commands.split(", "):
            keys.setdefault(command, set()).update(re.findall(r"`(\w+)`", names))
    return keys


def test_the_keys_are_those_of_the_documentation(study, archive, call, tmp_path, monkeypatch):
    made = [volcomp.precompile.Made("avx2", 3, 1000, 1.5), volcomp.precompile.Made("avx512", 4, 500, 2.0)]
    monkeypatch.setattr(volcomp.precompile, "precompile", lambda targets, begin: made)
    monkeypatch.setattr(volcomp.serve.app, "serve", lambda settings, listening: listening("http://127.0.0.1:8080/"))
    (tmp_path / "more").write_text("more")
    words = {
        "compress": [study / "ct", "-o", tmp_path / "x.vcz"],
        "append": [tmp_path / "x.vcz", tmp_path / "more"],
        "decompress": [archive, "-o", tmp_path / "out"],
        "extract": [archive, "note", "-o", tmp_path / "some"],
        "list": [archive],
        "info": [archive],
        "verify": [archive],
        "protect": [archive],
        "repair": [archive],
        "batch": [study, tmp_path / "batch", "--jobs", "1"],
        "serve": [tmp_path],
        "view": [archive, "-o", tmp_path / "sheet.png"],
        "preview": [archive, "-o", tmp_path / "slice.png"],
        "compare": [study / "ct"],
        "precompile": [],
        "doctor": [],
    }
    keys = documented()
    common = keys.pop("all") - {"error"}
    assert keys.keys() == words.keys()
    for command, arguments in words.items():
        code, out, _ = call(command, *arguments, "--json")
        assert code == 0 and one_object(out).keys() == keys[command] | common, command
        if command == "precompile":
            assert (json.loads(out)["files"], json.loads(out)["bytes_out"]) == (7, 1500)


def test_the_same_keys_for_the_same_things(study, call, tmp_path):
    target = tmp_path / "ct.vcz"
    made = one_object(call("compress", study / "ct", "-o", target, "--json")[1])
    raw, packed = made["bytes_in"], target.stat().st_size
    assert made["bytes_out"] == packed and made["file"] == str(target) and made["seconds"] >= 0
    assert made["skipped"] == [] and "error" not in made
    readers = {
        "decompress": one_object(call("decompress", target, "-o", tmp_path / "out", "--json")[1]),
        "verify": one_object(call("verify", target, "--json")[1]),
        "info": one_object(call("info", target, "--json")[1]),
    }
    for command, found in readers.items():
        assert (found["bytes_in"], found["bytes_out"]) == (packed, raw), command
        assert found.items() >= COUNTS.items() and found["seconds"] >= 0, command
    assert readers["decompress"]["output"] == str(tmp_path / "out")
    listed = one_object(call("list", target, "--json")[1])
    assert listed.items() >= COUNTS.items() and len(listed["entries"]) == 7
    assert made.items() >= COUNTS.items()
    some = one_object(call("extract", target, "note", "-o", tmp_path / "some", "--json")[1])
    assert some.keys() == readers["decompress"].keys() and (some["files"], some["bytes_out"]) == (1, 4)
    (tmp_path / "more").write_text("more")
    added = one_object(call("append", target, tmp_path / "more", "--json")[1])
    assert added.keys() == made.keys() and (added["files"], added["folders"], added["bytes_in"]) == (1, 0, 4)
    protected = one_object(call("protect", target, "--json")[1])
    assert protected["bytes_out"] == target.stat().st_size > protected["bytes_in"]
    assert one_object(call("repair", target, "--json")[1])["repaired"] is False
    batch = one_object(call("batch", study, tmp_path / "batch", "--jobs", "1", "--json")[1])
    assert batch["output"] == str(tmp_path / "batch") and batch["bytes_in"] > 0 and batch["seconds"] > 0


@pytest.mark.parametrize("words", [
    ["compress", "gone"], ["append", "gone", "gone"], ["decompress", "gone"], ["extract", "gone", "x"],
    ["list", "gone"], ["verify", "gone"], ["protect", "gone"], ["repair", "gone"], ["info", "gone"],
    ["batch", "gone", "out"],
], ids=lambda words: words[0])  # fmt: skip
def test_an_error_is_an_object_too(words, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, error = call(*words, "--json")
    assert code == 1 and error == f"volcomp: {one_object(out)['error']}\n" and "gone cannot be read" in error
    code, out, error = call(words[0], "--json", "--wrong-option")
    assert code == 2 and one_object(out) == {"error": error.removeprefix("volcomp: ").removesuffix("\n")}


def test_what_is_done_in_part_is_an_object_with_an_error(study, call, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "note").write_text("note")
    inputs = [tmp_path / "note", tmp_path / "pipe"]
    code, out, error = call("compress", *inputs, "-o", tmp_path / "x.vcz", "--skip-errors", "--json")
    found = one_object(out)
    assert code == 1 and found["files"] == 1 and error.splitlines()[1] == f"volcomp: {found['error']}"


def test_verify_has_an_object_for_all_archives(archive, call, tmp_path):
    (tmp_path / "bad.vcz").write_bytes(archive.read_bytes()[:-1])
    code, out, error = call("verify", archive, tmp_path / "bad.vcz", tmp_path / "gone.vcz", "--json")
    found = one_object(out)
    assert code == 1 and error.count("\n") == 2 and not found["sound"] and found["files"] == 4
    assert [one["sound"] for one in found["archives"]] == [True, False, False]
    assert [f"volcomp: {one['error']}" for one in found["archives"][1:]] == error.splitlines()
    assert found["error"].startswith("2 of 3 archives are not sound; the first: ")


def test_bytes_and_objects_do_not_mix(study, archive, tmp_path):
    """Where standard output takes the bytes, the object goes to standard error."""

    def piped(*words):
        done = subprocess.run([sys.executable, "-m", "volcomp", *map(str, words)], capture_output=True, timeout=900)
        return done.returncode, done.stdout, without_compiling(done.stderr.decode())

    code, out, error = piped("compress", study / "ct", "-o", "-", "--json", "--threads", "1")
    assert code == 0 and out == archive.read_bytes() and one_object(error)["bytes_out"] == len(out)
    code, out, error = piped("extract", archive, "note", "-o", "-", "--json")
    assert code == 0 and out == b"note" and one_object(error)["files"] == 1
    code, out, error = piped("extract", archive, "gone", "-o", "-", "--json")
    assert code == 1 and out == b"" and "it holds no 'gone'" in json.loads(error.splitlines()[1])["error"]
    code, out, error = piped("extract", archive, "gone", "-o", "-", "--json", "--wrong")
    assert code == 2 and out == b"" and json.loads(error.splitlines()[1])["error"]


def test_an_empty_folder_is_said_to_be_empty(call, tmp_path):
    (tmp_path / "empty").mkdir()
    assert call("compress", tmp_path / "empty", "-o", tmp_path / "x.vcz")[1].startswith(
        f"{tmp_path}/x.vcz: 0 files, 0 folders, 0 bytes in, "
    )
    for name in "abc":
        (tmp_path / "empty" / name).mkdir()
    out = call("compress", tmp_path / "empty", "-o", tmp_path / "y.vcz")[1]
    assert "y.vcz: 0 files, 3 folders, 0 bytes in, " in out and "ratio" not in out
    assert "0 files, 3 folders, " in call("decompress", tmp_path / "y.vcz", "-o", tmp_path / "out")[1]
    assert "0 files, 3 folders, " in call("verify", tmp_path / "y.vcz")[1]


def test_an_array_is_verified_as_voxels(call, tmp_path):
    (tmp_path / "x.vcz").write_bytes(volcomp.compress(noise((2, 3, 4)), threads=1))
    assert f"sound: {tmp_path}/x.vcz: 24 voxels, " in call("verify", tmp_path / "x.vcz")[1]
    assert "volume 0: 2×3×4 i2, fast-3, 1 slab, " in call("info", tmp_path / "x.vcz")[1]


def test_info_of_a_mixed_folder_is_short(call, tmp_path):
    """Seven series, one of them of several sizes; all are there with --all and --json."""
    for number in range(7):
        series(tmp_path / "in" / str(number), 2 if number else 4, size=6 + number, series=f"1.2.{number}")
    image(tmp_path / "in" / "scout", noise((24, 24)), series="1.2.6")
    for name in "abc":
        (tmp_path / "in" / name).write_text(name * 9)
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    code, out, _ = call("info", tmp_path / "x.vcz")
    lines = out.splitlines()
    assert code == 0 and len(lines) == 11
    assert lines[1].startswith("  20 files, 7 folders under in/, ")
    assert lines[2].startswith("  '6', 'scout': CT, 3 files, 2 volumes, ") and lines[2].endswith("series 1.2.6")
    assert lines[7].startswith("  and 2 more: ") and lines[8] == "  3 files kept whole: no image of a known format"
    everything = call("info", tmp_path / "x.vcz", "--all")[1]
    assert everything.count("  volume ") == 8 and "bytes by section" in everything
    assert "1 file, CT" in everything and "1 files" not in everything
    found = one_object(call("info", tmp_path / "x.vcz", "--json")[1])
    assert len(found["volumes"]) == 8 and found["not_coded"] == {"no image of a known format": 3}


def test_info_of_colours_counts_each_file_once(call, tmp_path):
    pixels = noise((6, 6, 3), "u1", 0, 200)
    image(
        tmp_path / "in" / "a",
        pixels[..., 0],
        raw=pixels.tobytes(),
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
    )
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    assert "'a': CT, 1 file, 3 volumes, 1×6×6 u1" in call("info", tmp_path / "x.vcz")[1]


def test_what_is_missing_is_grouped(tmp_path, call, low_slabs):
    series(tmp_path / "ct", 40, size=6)
    compress([tmp_path / "ct"], tmp_path / "x.vcz")
    damage(tmp_path / "x.vcz", SectionId(SLAB, 0, 1))
    code, out, error = call("decompress", tmp_path / "x.vcz", "-o", tmp_path / "out", "--salvage", "--json")
    assert code == 1 and len(one_object(out)["missing"]) == 20
    first, last = error.splitlines()
    assert first.startswith("missing: slices 20–39 of volume 0 (20 files, IM0020.dcm to IM0001.dcm): slab 1 of")
    fails((code, out, last + "\n"), "20 files could not be restored")


def test_groups_are_of_one_reason_and_one_volume():
    lost = ["a (slice 3 of volume 1): r", "b (slices 4 to 9 of volume 1): r", "c (slice 0 of volume 2): r"]
    lost += ["g (slice 5 of volume 3): r", "h (slice 5 of volume 3): r"]
    lost += ["d (stored files): s", "e (stored files): s", "f (stored files): t", "the list is gone"]
    assert list(_grouped(lost)) == [
        "slices 3–9 of volume 1 (2 files, a to b): r",
        "c (slice 0 of volume 2): r",
        "slice 5 of volume 3 (2 files, g to h): r",
        "stored files (2 files, d to e): s",
        "f (stored files): t",
        "the list is gone",
    ]
