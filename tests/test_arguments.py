"""Arguments of wrong types, other files where archives belong, and URLs: one sentence, in the words of who reads it."""

import ast
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volcomp
from tests.cli.test_cli import call, fails
from volcomp import wording

__all__ = ["call"]  # a fixture
ROOT = Path(volcomp.__file__).parent


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of one text."""
    folder = tmp_path_factory.mktemp("arguments")
    (folder / "report.txt").write_text("No finding.")
    volcomp.compress_files(folder / "report.txt", folder / "x.vcz", threads=1)
    return folder / "x.vcz"


def refused(call: Any, *words: Any, code: int = 1) -> str:
    """The one sentence of a command that fails."""
    result = call(*map(str, words))
    fails(result, "", code)
    sentence: str = result[2]
    return sentence


class Stubborn:
    """An array that numpy cannot take, and whose text cannot be shown."""

    def __array__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("it lies\nelsewhere")

    def __repr__(self) -> str:
        raise RuntimeError


NO_PATHS = [None, 5, 2.5, True, ["x.vcz"], object(), np.zeros(3), Stubborn()]
V: Any = volcomp
OF_PATHS: dict[str, Callable[[Any], object]] = {
    "verify": V.verify,
    "info": V.info,
    "list_files": V.list_files,
    "decompress_files": V.decompress_files,
    "append": lambda bad: V.append(bad, "report.txt"),
    "protect": V.protect,
    "repair": V.repair,
    "open": V.open,
    "decompress": V.decompress,
    "inspect": V.inspect,
    "compress_files": lambda bad: V.compress_files("report.txt", bad),
}


@pytest.mark.parametrize("name", OF_PATHS)
def test_what_is_no_path(name: str) -> None:
    for bad in NO_PATHS:
        with pytest.raises(
            volcomp.ArgumentError, match=rf"was given, of type {type(bad).__name__}; give .*path"
        ) as told:
            OF_PATHS[name](bad)
        assert isinstance(told.value, TypeError) and "\n" not in str(told.value) and len(str(told.value)) < 300
    for bad in ("", "a\0b"):
        with pytest.raises(volcomp.UnsupportedError, match=r"no path|cannot be read"):
            OF_PATHS[name](bad)


@pytest.mark.parametrize("bad", [None, 5, b"x", [None], ["x", 3], [[]], object()])
def test_inputs_that_are_no_paths(bad: Any, good: Path, tmp_path: Path) -> None:
    with pytest.raises(volcomp.ArgumentError, match="inputs"):
        volcomp.compress_files(bad, tmp_path / "new.vcz")
    with pytest.raises(volcomp.ArgumentError, match="inputs"):
        volcomp.append(good, bad)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"effort": "5"}, TypeError),
        ({"effort": None}, TypeError),
        ({"effort": 5.0}, TypeError),
        ({"effort": True}, TypeError),
        ({"effort": [5]}, TypeError),
        ({"effort": 12}, volcomp.UnsupportedError),
        ({"model": None}, TypeError),
        ({"model": 3}, TypeError),
        ({"model": "huge"}, volcomp.UnsupportedError),
        ({"threads": "2"}, TypeError),
        ({"threads": 2.0}, TypeError),
        ({"threads": 0}, volcomp.UnsupportedError),
        ({"threads": -1}, volcomp.UnsupportedError),
        ({"device": None}, TypeError),
        ({"device": "tpu"}, volcomp.UnsupportedError),
        ({"verify": "no"}, TypeError),
        ({"verify": None}, TypeError),
        ({"parity": "2%"}, TypeError),
        ({"parity": None}, TypeError),
        ({"parity": float("nan")}, volcomp.UnsupportedError),
        ({"force": 1}, TypeError),
        ({"times": "no"}, TypeError),
        ({"skip_errors": None}, TypeError),
    ],
)
def test_options_of_other_types(options: dict[str, Any], error: type[Exception], tmp_path: Path) -> None:
    """A wrong type is a TypeError, a wrong value is none, and both are VolcompErrors."""
    (tmp_path / "in").write_text("a")
    (name,) = options
    with pytest.raises(volcomp.VolcompError, match=name) as told:
        volcomp.compress_files(tmp_path / "in", tmp_path / "new.vcz", **options)
    assert isinstance(told.value, error) and isinstance(told.value, TypeError) == (error is TypeError)
    if name not in ("force", "times", "skip_errors", "parity"):
        with pytest.raises(volcomp.VolcompError, match=name) as told:
            volcomp.compress(np.zeros((1, 2, 2), np.uint8), **options)
        assert isinstance(told.value, error)
    assert not (tmp_path / "new.vcz").exists()


def test_numbers_of_numpy_are_numbers(good: Path, tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    data = volcomp.compress(array, effort=np.int64(1), threads=np.int32(1), verify=np.True_)  # type: ignore[arg-type]
    assert np.array_equal(volcomp.decompress(bytearray(data), threads=np.uint8(1)), array)  # type: ignore[arg-type]
    assert np.array_equal(volcomp.decompress(memoryview(data), volume=np.int64(0)), array)  # type: ignore[arg-type]
    assert volcomp.inspect(bytearray(data)).volumes[0].shape == (3, 4, 5)
    with volcomp.open(bytearray(data)) as volume:
        assert np.array_equal(volume[:], array)
    copy = tmp_path / "copy.vcz"
    copy.write_bytes(good.read_bytes())
    assert volcomp.protect(copy, np.float32(0.5)).share > 0.1  # type: ignore[arg-type]


@pytest.mark.parametrize("share", ["2%", None, True, [0.02], 2 + 0j])
def test_shares_that_are_no_numbers(share: Any, good: Path) -> None:
    with pytest.raises(volcomp.ArgumentError, match="share="):
        volcomp.protect(good, share)


@pytest.mark.parametrize("array", [[[1, 2], [3]], Stubborn(), "ct.npy", b"ab", Path("ct")])
def test_what_is_no_array(array: Any) -> None:
    with pytest.raises(volcomp.ArgumentError, match=r"^array\b") as told:
        volcomp.compress(array)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("array", [None, 5, ["abc"], [[1, 2], [3, 4]], np.zeros((2, 2), object), np.zeros((2, 2))])
def test_arrays_of_other_types(array: Any) -> None:
    with pytest.raises(volcomp.UnsupportedError, match=r"voxels of type .* allowed are 8- and 16-bit integers, as"):
        volcomp.compress(array)


@pytest.mark.parametrize("bad", ["3", 1.5, [0], True])
def test_other_arguments_of_other_types(bad: Any, good: Path) -> None:
    data = volcomp.compress(np.zeros((2, 3, 4), np.uint8), threads=1)
    tried: list[Callable[[], object]] = [
        lambda: volcomp.decompress(data, bad),
        lambda: volcomp.decompress(data, times=bad),
        lambda: volcomp.decompress(data, volume=bad),
        lambda: volcomp.open(data, cache_bytes=bad),
        lambda: volcomp.open(data, threads=bad),
        lambda: volcomp.decompress_files(good, "out", bad),
        lambda: volcomp.verify(good, threads=bad),
        lambda: volcomp.verify(good, device=bad),
    ]
    for k, one in enumerate(tried):
        if k == 7 and bad == "3":
            continue
        with pytest.raises(TypeError, match=r"was given, of type .*; give "):
            one()
    if bad is not True:
        with pytest.raises(volcomp.ArgumentError, match="salvage="):
            volcomp.decompress(data, salvage=bad)
        with pytest.raises(volcomp.ArgumentError, match="force="):
            volcomp.repair(good, force=bad)


def test_a_file_of_text_is_no_binary_file(good: Path) -> None:
    with (
        good.open(encoding="latin-1") as file,
        pytest.raises(volcomp.ArgumentError, match="is a file of text; open"),
    ):
        volcomp.open(file)  # type: ignore[arg-type]
    with good.open("rb") as binary, volcomp.open(binary) as archive:
        assert len(archive.volumes) == 0
    with volcomp.open(io.BytesIO(good.read_bytes())) as archive:
        assert len(archive.volumes) == 0


def other_files(folder: Path) -> Iterator[Path]:
    """Files that are no archives, and a folder of them."""
    (folder / "study").mkdir()
    for name, head in (("a.dcm", bytes(128) + b"DICM"), ("ct.nii.gz", b"\x1f\x8b\x08\0"), ("x.nii", b"\x5c\x01\0\0")):
        (folder / "study" / name).write_bytes(head + bytes(1000))
        yield folder / "study" / name
    (folder / "study" / "short.txt").write_bytes(b"a")
    yield folder / "study" / "short.txt"
    yield folder / "study"


def test_other_files_are_told_how_they_become_archives(call: Any, tmp_path: Path) -> None:
    for path in other_files(tmp_path):
        for read in (volcomp.info, volcomp.open, volcomp.list_files, volcomp.verify, volcomp.decompress_files):
            with pytest.raises(volcomp.VolcompError, match=r"volcomp\.compress_files"):
                read(path)
        for command in ("info", "list", "decompress", "verify", "view"):
            assert "volcomp compress" in refused(call, command, path)
    with pytest.raises(volcomp.DamagedError, match=r"volcomp\.compress_files"):
        volcomp.decompress(tmp_path / "study" / "a.dcm")


def test_a_damaged_archive_is_no_other_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "x.vcz").write_bytes(b"\0" + good.read_bytes()[1:])
    with pytest.raises(volcomp.DamagedError, match=r"signature of a \.vcz file$"):
        volcomp.info(tmp_path / "x.vcz")


def test_what_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    for read in (volcomp.decompress, volcomp.inspect, volcomp.info, volcomp.open):
        for place in (tmp_path, tmp_path / "missing"):
            with pytest.raises(volcomp.UnsupportedError, match="cannot be read"):
                read(place)
    with pytest.raises(volcomp.SourceError) as told:
        volcomp.inspect(tmp_path / "missing")
    assert told.value.path == tmp_path / "missing"


URL = "https://user:secret@pacs.invalid/ct.vcz?sig=1"


@pytest.mark.parametrize(
    "words",
    [
        ["append", URL, "x"],
        ["append", "x", URL],
        ["protect", URL],
        ["repair", URL],
        ["repair", "x", "-o", URL],
        ["compress", URL],
        ["compress", "x", "-o", URL],
        ["compress", "s3://bucket/study"],
        ["decompress", "x", "-o", "s3://bucket/out"],
        ["extract", "x", "a", "-o", URL.removesuffix("?sig=1")],
        ["view", "x", "-o", "s3://bucket/a.png"],
        ["compare", URL],
        ["batch", "x", "s3://bucket/out"],
    ],
)
def test_urls_where_only_paths_serve(words: list[str], call: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = refused(call, *words, code=2)
    assert "is a URL" in sentence and "name a path" in sentence and "batch --decompress read archives" in sentence
    assert "secret" not in sentence and "sig=" not in sentence and ":/p" not in sentence.replace("://", "")
    assert not [*tmp_path.iterdir()]


def test_urls_where_only_paths_serve_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("a")
    tried: list[Callable[[], object]] = [
        lambda: volcomp.compress_files(URL, "x.vcz"),
        lambda: volcomp.compress_files("a", URL),
        lambda: volcomp.append(URL, "a"),
        lambda: volcomp.append("a", URL),
        lambda: volcomp.protect(URL),
        lambda: volcomp.repair(URL),
        lambda: volcomp.repair("a", URL),
        lambda: volcomp.decompress_files("a", URL),
    ]
    for one in tried:
        with pytest.raises(volcomp.UnsupportedError, match=r"https://pacs\.invalid/ct\.vcz is a URL.*name a path"):
            one()
    for read in (volcomp.decompress, volcomp.inspect):
        with pytest.raises(volcomp.UnsupportedError, match=r"data is a URL, which volcomp\.open"):
            read(URL)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_python_and_commands_are_told_their_own_words(call: Any, good: Path) -> None:
    with pytest.raises(volcomp.TargetError, match="exists; force=True overwrites it"):
        volcomp.compress_files(good.with_name("report.txt"), good)
    assert "exists; --force overwrites it" in refused(call, "compress", good.with_name("report.txt"), "-o", good)
    with pytest.raises(volcomp.UnsupportedError, match=r"volcomp\.protect adds parity"):
        volcomp.repair(good)
    assert "volcomp protect adds parity" in refused(call, "repair", good)


def test_blocks_of_commands_overlap() -> None:
    outer, inner = wording.for_commands(), wording.for_commands()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert wording.spelled("force=True") == "--force"
    inner.__exit__(None, None, None)
    assert wording.spelled("force=True") == "force=True"


_OF_COMMANDS = re.compile(r"--[a-z]{3}| -o\b|volcomp (append|compress|decompress|extract|info|list|protect|repair)\b")
_NOT_THE_LIBRARY = (
    "cli",
    "batch",
    "serve",
    "training",
    "doctor.py",
    "comparison.py",
    "precompile.py",
    "__main__.py",
    "wording.py",
)


def test_sentences_of_the_library_have_no_words_of_commands() -> None:
    """They are spelled by `wording`, for whom they are for."""
    found = []
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] in _NOT_THE_LIBRARY:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and re.search(r"Error\b", ast.unparse(node.func)):
                found += [
                    f"{path.name}: {one.value}"
                    for one in ast.walk(node)
                    if isinstance(one, ast.Constant) and isinstance(one.value, str) and _OF_COMMANDS.search(one.value)
                ]
    assert not found


def test_all_errors_are_exported() -> None:
    from volcomp import errors

    kinds = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}
    assert kinds <= set(volcomp.__all__)
    assert all(getattr(volcomp, name) is getattr(errors, name) for name in kinds)
    text = (ROOT.parent / "docs" / "api.md").read_text("utf-8")
    assert all(f"::: volcomp.errors.{name}\n" in text for name in kinds)


@pytest.fixture
def at_url(good: Path) -> Iterator[str]:
    """The URL of `good`, in memory."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/arguments/x.vcz", good.read_bytes())
    yield "memory://arguments/x.vcz"
    memory.rm("/arguments", recursive=True)


def test_urls_are_verified_and_extracted(at_url: str, good: Path, call: Any, tmp_path: Path) -> None:
    import fsspec

    assert call("verify", at_url)[1].startswith(f"sound: {at_url}: 1 file, ")
    assert volcomp.verify(at_url).files == 1
    assert call("extract", at_url, "report.txt", "-o", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "report.txt").read_text() == "No finding."
    copy = tmp_path / "copy.vcz"
    copy.write_bytes(good.read_bytes())
    volcomp.protect(copy, 0.5)
    data = bytearray(copy.read_bytes())
    data[len(data) * 2 // 3] ^= 1  # of the parity alone
    fsspec.filesystem("memory").pipe("/arguments/x.vcz", bytes(data))
    assert "blocks is damaged, which volcomp repair restores" in refused(call, "verify", at_url)
    with pytest.raises(volcomp.DamagedError, match=r"blocks is damaged, which volcomp\.repair restores"):
        volcomp.verify(at_url)


def test_a_batch_takes_a_url(at_url: str, tmp_path: Path) -> None:
    """Of one archive, or of a list of them."""
    import fsspec

    from volcomp.archive.remote import located
    from volcomp.batch.jobs import find

    (job,) = find(located(at_url), tmp_path, decompress=True)
    assert (job.name, job.source, job.target) == ("arguments/x", located(at_url), tmp_path / "arguments" / "x")
    fsspec.filesystem("memory").pipe("/arguments/list.txt", f"{at_url}\n/a.vcz\n".encode())
    jobs = find(located("memory://arguments/list.txt"), tmp_path, decompress=True)
    assert [one.name for one in jobs] == ["arguments/x", "a"] and jobs[1].source == Path("/a.vcz")
    with pytest.raises(volcomp.UnsupportedError, match="is a URL, from which archives are restored"):
        find(located(at_url), tmp_path, decompress=False)
    with pytest.raises(volcomp.UnsupportedError, match="there is no such file"):
        find(located("memory://arguments/gone"), tmp_path, decompress=True)
