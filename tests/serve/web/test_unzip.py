"""Zips that nobody trusts."""

import contextlib
import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from volcomp.serve.web.refusal import Refusal
from volcomp.serve.web.unzip import Limits, checked, extract

ANY = Limits()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def opened(tmp_path: Path, data: bytes, limits: Limits = ANY) -> list[tuple[str, Path]]:
    source, folder = tmp_path / "given.zip", tmp_path / "out"
    source.write_bytes(data)
    folder.mkdir()
    return extract(source, folder, limits)


def test_files_come_out_in_their_folders_without_what_systems_add(tmp_path: Path) -> None:
    files = {"b/c/2.bin": os.urandom(200_000), "a.txt": b"text", "__MACOSX/a.txt": b"x", "b/.DS_Store": b"x"}
    found = opened(tmp_path, zipped(files))
    assert {name: path.read_bytes() for name, path in found} == {name: files[name] for name in ("b/c/2.bin", "a.txt")}
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == {path for _, path in found}


def test_folders_alone_are_no_files(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.mkdir("a")
    assert opened(tmp_path, data.getvalue()) == []


BAD_NAMES = [
    "../a", "a/../../b", "/etc/passwd", "a//b", "./a", "C:/a", "a\\b", "\\\\host\\a", "a/\n", "x" * 2000, "",
    "a/" * 40 + "b",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal):
        checked(name)
    # zipfile writes most of them as they are, and takes off what it reads as a drive on some systems.
    data = zipped({"n" * len(name.encode()): b"x"}).replace(b"n" * len(name.encode()), name.encode()) if name else None
    if data:
        with pytest.raises(Refusal):
            opened(tmp_path, data)
        assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("a", "a/b"), ("x/Y", "x/y/z")])
def test_names_that_exclude_each_other_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    data = zipped({names[0]: b"1", "m" * len(names[1]): b"2"}).replace(b"m" * len(names[1]), names[1].encode())
    with pytest.raises(Refusal, match="same name"):
        opened(tmp_path, data)


def test_links_are_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(Refusal, match="link") as refused:
        opened(tmp_path, data.getvalue())
    assert refused.value.file == "link" and refused.value.status == 422


def test_what_inflates_too_far_is_refused(tmp_path: Path) -> None:
    data = zipped({"zeros": bytes(3 << 20)})
    assert len(data) < 1 << 14
    with pytest.raises(Refusal, match="larger") as refused:
        opened(tmp_path, data, Limits(bytes=1 << 20))
    assert refused.value.status == 413
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 1 << 20


def test_the_ratio_counts_what_comes_out_and_not_what_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("volcomp.serve.web.unzip._FREE", 1 << 16)
    data = bytearray(zipped({"zeros": bytes(4 << 20)}))
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<L", 100)  # the stated size, in the directory
    with pytest.raises(Refusal):
        opened(tmp_path, bytes(data), Limits(ratio=20))


def test_the_sum_of_many_files_counts(tmp_path: Path) -> None:
    data = zipped({f"{k}": os.urandom(1000) for k in range(20)}, zipfile.ZIP_STORED)
    with pytest.raises(Refusal, match="larger"):
        opened(tmp_path, data, Limits(bytes=15_000))


def test_too_many_files_are_refused_before_they_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"{k:0100}": b"" for k in range(60)})
    with pytest.raises(Refusal, match="more than 50 files"):
        opened(tmp_path, data, Limits(files=50))
    (tmp_path / "second").mkdir()

    def fail(*given: object) -> None:
        raise AssertionError("zipfile was asked")

    monkeypatch.setattr(zipfile, "ZipFile", fail)
    with pytest.raises(Refusal, match="more than 5 files") as refused:
        opened(tmp_path / "second", data, Limits(files=5))
    assert refused.value.status == 413


def encrypted(data: bytes) -> bytes:
    """Set the flag of encryption in local header and directory."""
    changed = bytearray(data)
    changed[6] |= 1
    changed[changed.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


DAMAGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("no zip", lambda data: b"no zip at all"),
    ("no zip", lambda data: b""),
    ("no zip", lambda data: data[: len(data) // 2]),
    ("damaged", lambda data: data[:60] + bytes(40) + data[100:]),
    ("damaged", lambda data: data.replace(data[14:18], b"\1\2\3\4")),  # its CRC-32
    ("encrypted", encrypted),
]


@pytest.mark.parametrize(("sentence", "change"), DAMAGES)
def test_damaged_and_encrypted_zips_are_refused(
    tmp_path: Path, sentence: str, change: Callable[[bytes], bytes]
) -> None:  # fmt: skip
    with pytest.raises(Refusal, match=sentence) as refused:
        opened(tmp_path, change(zipped({"a": os.urandom(3000)})))
    assert refused.value.status in (413, 422)


def test_any_changed_byte_gives_the_files_or_one_error(tmp_path: Path) -> None:
    data = zipped({"a": b"some text " * 20, "b/c": os.urandom(50)})
    folder = tmp_path / "out"
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x55
        (tmp_path / "given.zip").write_bytes(changed)
        folder.mkdir()
        with contextlib.suppress(Refusal):
            extract(tmp_path / "given.zip", folder, Limits(bytes=1 << 20))
        assert all(path.resolve().is_relative_to(folder.resolve()) for path in folder.rglob("*"))
        folder.rename(tmp_path / f"done{at}")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(Refusal, match="method"):
        opened(tmp_path, zipped({"a": b"text" * 100}, method))
