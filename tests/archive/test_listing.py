"""Lists of files are cut where one section has no room for more."""

import pytest

from tests.archive.forge import note
from volcomp import DamagedError
from volcomp.archive import listing


def test_a_piece_has_as_many_rows_as_a_reader_takes(monkeypatch):
    monkeypatch.setattr(listing, "MAX_ROWS", 3)
    entries = [note(f"{i}", b"text" * i, start=i * i) for i in range(7)]
    pieces = list(listing.cut(entries))
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert [entry for piece in pieces for entry in piece] == entries
    for piece in pieces:
        assert listing.decode(listing.encode("r", piece), "list") == ("r", list(piece))
    with pytest.raises(DamagedError):
        listing.decode(listing.encode("r", entries[:4]), "list")
    assert list(listing.cut([])) == []


def test_a_piece_has_as_many_bytes_of_names_as_fit(monkeypatch):
    monkeypatch.setattr(listing, "_TEXT_BYTES", 10)
    names = ["four", "five5", "a", "b" * 11, "c", "ü" * 5]
    assert [[e.name for e in piece] for piece in listing.cut([note(name) for name in names])] == [
        ["four", "five5", "a"],
        ["b" * 11],
        ["c"],
        ["ü" * 5],
    ]
