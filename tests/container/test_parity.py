"""Parity: what the promise says is repaired, is; what is beyond it is refused; and the layout keeps the promise."""

import hashlib
import io
import os
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.container.independent_repair import repair as repair_independently
from volcomp.container import layout, parity
from volcomp.container.layout import Layout, plan
from volcomp.container.sections import BLOB, PARITY_SIGNATURE, Reader, SectionId, Writer
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.options import check_share

RANDOM = np.random.default_rng(0)


def archive(size):
    """An archive of about `size` bytes, which hold nothing that decodes."""
    file = io.BytesIO()
    writer = Writer(file)
    content = np.random.default_rng(size).bytes(max(1, size - 60))
    for number in range(3):
        writer.add(SectionId(BLOB, number), content[number * len(content) // 3 : (number + 1) * len(content) // 3])
    writer.finish()
    return file.getvalue()


def protected(data, share):
    """(file with parity, its layout)."""
    file = io.BytesIO(data)
    made = parity.append(file, len(data), share)
    return file.getvalue(), made


def grouped(data, block, count, groups):
    """(file with parity of another layout than a writer would choose, its layout)."""
    file = io.BytesIO(data)
    made = Layout(len(data), block, -(-len(data) // (block * groups)), count, groups, hashlib.sha256(data).digest())
    assert made.is_possible()
    parity.write(file, made)
    return file.getvalue(), made


def repaired(data):
    """The file that a damaged one is repaired to; it must have been seen that it is damaged."""
    health = parity.examine(io.BytesIO(data))
    assert health is not None, "no parity was found"
    assert not health.is_sound
    out = io.BytesIO()
    parity.restore(io.BytesIO(data), health, out)
    return out.getvalue()


def inverted(data, start, end):
    return data[:start] + bytes(255 - byte for byte in data[start:end]) + data[end:]


def zeroed(data, start, end):
    return data[:start] + bytes(len(data[start:end])) + data[end:]


def missing(data, start, end):
    return data[:start] + data[end:]


CASES = {
    "tiny": protected(archive(150), 0.02),
    "small": protected(archive(1500), 0.05),
    "half": protected(archive(900), 0.5),
    "groups": grouped(archive(1900), 64, 2, 5),
    "short last block": grouped(archive(1600), 97, 3, 3),
}


@pytest.mark.parametrize("case", CASES)
def test_one_stretch_anywhere_is_repaired(case):
    file, made = CASES[case]
    step = max(1, len(file) // 60)
    for start in range(0, len(file), step):
        for length in {1, made.stretch // 2, made.stretch}:
            for damage in (inverted, missing):
                damaged = damage(file, start, start + length)
                if damaged != file:
                    assert repaired(damaged) == file, (damage.__name__, start, length)


@pytest.mark.parametrize("case", CASES)
def test_a_cut_end_is_repaired(case):
    file, made = CASES[case]
    for length in range(1, made.stretch, max(1, made.stretch // 40)):
        assert repaired(file[:-length]) == file


@pytest.mark.parametrize("case", CASES)
def test_bytes_inserted_at_one_place_or_appended_are_removed(case):
    file, _ = CASES[case]
    for start in [*range(0, len(file), max(1, len(file) // 40)), len(file)]:
        for length in (1, 77, 5000):
            assert repaired(file[:start] + RANDOM.bytes(length) + file[start:]) == file, (start, length)


def block_spans(made):
    """(start, end) of every block by group: those of the archive, then those of parity."""
    spans = [[] for _ in range(made.groups)]
    for block in range(made.blocks):
        spans[block % made.groups].append((block * made.block, min(made.size, (block + 1) * made.block)))
    for number in range(made.parity):
        for group in range(made.groups):
            start = made.offset(group, number)
            spans[group].append((start, start + made.length))
    return spans


def random_damage(file, made, random):
    """Damage up to t blocks of every group, each somewhere; and the ending, unless it alone says what the layout is."""
    damaged = file
    some = False
    for spans in block_spans(made):
        count = random.integers(0, made.parity + 1)
        for start, end in random.permutation(spans)[:count].tolist():
            first = random.integers(start, end)
            damage = (inverted, zeroed)[random.integers(2)]
            damaged = damage(damaged, first, random.integers(first, end) + 1)
        some |= (spans and count < made.parity) or damaged[made.size :] == file[made.size :]
    if some and random.integers(2):
        damaged = inverted(damaged, random.integers(made.end - 30, len(file)), len(file))
    return damaged


@pytest.mark.parametrize("case", CASES)
def test_as_many_blocks_of_each_group_as_it_has_parity_are_repaired(case):
    file, made = CASES[case]
    random = np.random.default_rng(5)
    for _ in range(60):
        damaged = random_damage(file, made, random)
        if damaged != file:
            assert repaired(damaged) == file


@pytest.mark.parametrize("case", CASES)
def test_one_block_more_is_refused(case):
    file, made = CASES[case]
    for group, spans in enumerate(block_spans(made)):
        archived = [span for span in spans if span[0] < made.size]
        chosen = [*archived[: made.parity + 1], *spans[len(archived) :][: max(0, made.parity + 1 - len(archived))]]
        damaged = file
        for start, _ in chosen:
            damaged = inverted(damaged, start, start + 1)
        health = parity.examine(io.BytesIO(damaged))
        if health is None or health.places[group] < 0:
            out = io.BytesIO()
            with pytest.raises(DamagedError, match=f"{made.parity + 1} of its .* where {made.parity} may be"):
                parity.restore(io.BytesIO(damaged), health, out)
            assert out.getvalue() == b""


def test_parity_that_is_lost_as_a_whole_is_made_again():
    file, made = CASES["groups"]
    damaged = zeroed(file, made.size, made.end - layout.DESCRIPTION_BYTES)
    assert parity.examine(io.BytesIO(damaged)).is_repairable
    assert repaired(damaged) == file
    assert parity.examine(io.BytesIO(file[: made.size])) is None


def test_damage_in_a_group_without_parity_is_found_by_the_digest():
    file, made = CASES["groups"]
    damaged = zeroed(file, made.size, made.end - layout.DESCRIPTION_BYTES)
    with pytest.raises(DamagedError, match="not the archive that was protected"):
        repaired(inverted(damaged, 100, 101))


def test_a_repairer_written_from_the_format_page_gives_the_archive():
    for case in ("small", "groups", "short last block"):
        file, made = CASES[case]
        damaged = inverted(file, made.size // 3, made.size // 3 + made.stretch // 2)
        assert repair_independently(damaged) == file[: made.size] == repaired(damaged)[: made.size]
        assert repair_independently(file[: -made.stretch]) == file[: made.size]


def test_readers_pass_over_parity():
    for file, made in CASES.values():
        plain, with_parity = Reader(io.BytesIO(file[: made.size])), Reader(io.BytesIO(file))
        assert with_parity.places == plain.places and plain.parity is None
        assert with_parity.parity.offset + with_parity.parity.length == made.end
        assert [with_parity.read(section) for section in plain.places] == [
            plain.read(section) for section in plain.places
        ]


def test_errors_of_readers_name_the_repair():
    file, made = CASES["small"]
    for damaged in (file[:-1], inverted(file, 3, 4), file + b"x"):
        with pytest.raises(DamagedError, match=r"volcomp\.repair"):
            Reader(io.BytesIO(damaged))
    with pytest.raises(DamagedError, match=r"volcomp\.repair"):
        Reader(io.BytesIO(inverted(file, 50, 51))).read(SectionId(BLOB, 0))
    for start in (13, 17, 50):
        reader = Reader(io.BytesIO(inverted(file, start, start + 1)))
        reader.check(SectionId(BLOB, 1))
        with pytest.raises(DamagedError, match=r"stored files 0 is damaged: .* volcomp\.repair"):
            reader.check(SectionId(BLOB, 0))
    with pytest.raises(DamagedError) as caught:
        Reader(io.BytesIO(file[: made.size - 1]))
    assert "repair" not in str(caught.value)


def test_the_parity_of_an_archive_inside_is_not_taken():
    inner, _ = CASES["small"]
    outer = io.BytesIO()
    writer = Writer(outer)
    writer.add(SectionId(BLOB, 0), inner)
    writer.finish()
    assert parity.examine(io.BytesIO(outer.getvalue())) is None
    file, made = protected(outer.getvalue(), 0.02)
    assert parity.choose(io.BytesIO(file)) == made
    for start in range(0, len(file), 41):
        assert repaired(inverted(file, start, start + made.stretch)) == file
    assert parity.examine(io.BytesIO(zeroed(file, made.size, len(file)))) is None  # and not the one inside


def test_unreadable_sectors_count_as_damaged():
    file, _ = protected(archive(300_000), 0.05)

    class Failing(io.BytesIO):
        def read(self, count=-1):
            if self.tell() < 130_000 < self.tell() + count:
                raise OSError(5, "Input/output error")
            return super().read(count)

    health = parity.examine(Failing(file))
    assert 0 < health.damaged <= 3
    out = io.BytesIO()
    parity.restore(Failing(file), health, out)
    assert out.getvalue() == file


def test_layouts_keep_the_promise():
    for share in (0.01, 0.02, 0.05, 0.11, 0.25, 0.5):
        for size in (1, 60, 64, 333, 1000, 4097, 20_000, 99_999, 1 << 20, 3_000_001, 1 << 24, 10**9, 5 * 10**9, 10**12):
            made = plan(size, share, bytes(32), rest=70)
            assert made.is_possible()
            assert made.stretch >= share * (made.end + 70)
            assert made.block <= 1 << 16 or size > 10**11
    with pytest.raises(UnsupportedError, match="too large"):
        plan(10**15, 0.02, bytes(32), 70)


def test_impossible_shares():
    for share in (0.009, 0.51, -1.0, float("nan")):
        with pytest.raises(UnsupportedError, match="from 1% to 50%"):
            check_share(share)
    for share in (0, 0.01, 0.5):
        check_share(share)


def test_overhead_is_what_the_documents_say():
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    row = r"^\| (\d+) ([kMG])B \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) % \|$"
    rows = re.findall(row, page, re.MULTILINE)
    assert len(rows) == 7
    for number, unit, *fields, added in rows:
        size = int(number) * {"k": 10**3, "M": 10**6, "G": 10**9}[unit]
        made = plan(size, 0.02, bytes(32), 70)
        assert list(map(int, fields)) == [made.block, made.data, made.parity, made.groups]
        assert added == f"{100 * ((made.end + 70) / size - 1):.1f}"


def test_no_stretch_touches_more_blocks_than_there_are_of_parity():
    for file, made in CASES.values():
        starts = sorted(span for spans in block_spans(made) for span in spans)
        for start in range(len(file) - made.stretch):
            touched = sum(a < start + made.stretch and start < b for a, b in starts)
            assert touched <= made.parity_blocks


DESCRIPTION = {"version": 1, "k": 10, "t": 2, "number": 2, "block": 100, "groups": 1, "group": 0, "size": 1000}


def description(**changes):
    """A description with a fitting checksum, changed."""
    fields = {**DESCRIPTION, **changes}
    body = struct.pack("<8sBBBBIIIQ32s", PARITY_SIGNATURE, *fields.values(), bytes(32))
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"k": 0},
        {"k": 255, "t": 255},
        {"t": 0, "number": 0},
        {"number": 3},
        {"block": 0},
        {"block": 63},
        {"block": 1 << 31},
        {"groups": 0},
        {"groups": 1 << 31},
        {"group": 1},
        {"size": 0},
        {"size": (1 << 64) - 1},
        {"size": 1 << 50, "block": 1 << 20, "groups": 1 << 16},
        {"size": 11 * 100},
        {"size": 10**9, "block": 1 << 20, "k": 239, "groups": 4},
    ],
)
def test_impossible_descriptions_are_passed_over(changes):
    assert parity.choose(io.BytesIO(archive(500) + description())) is not None
    tracemalloc.start()
    assert parity.examine(io.BytesIO(archive(500) + description(**changes))) is None
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_forged_description_is_refused_after_bounded_work():
    forged = archive(500) + description(size=250_000, block=64, k=62, groups=64, t=2)
    health = parity.examine(io.BytesIO(forged))
    with pytest.raises(DamagedError):
        out = io.BytesIO()
        parity.restore(io.BytesIO(forged), health, out)
    many = description() * 20_000 + PARITY_SIGNATURE * 50_000
    assert parity.examine(io.BytesIO(many)) is not None


def test_random_bytes_have_no_parity():
    for size in (0, 1, 7, 8, 67, 68, 5000):
        assert parity.examine(io.BytesIO(os.urandom(size))) is None


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(archive(80_000_000))
    with path.open("r+b") as file:
        tracemalloc.start()
        parity.append(file, path.stat().st_size, 0.02)
        health = parity.examine(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert health.is_sound
    assert peak < 30 << 20
