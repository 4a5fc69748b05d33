"""What `docs/zarr.md` shows runs, and its description of a chunk is enough to decode one, also of the first release."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import zstandard

import volcomp
from tests.zarr.test_chunks import filled
from volcomp.zarr import chunks, wrapped
from volcomp.zarr.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "zarr.md").read_text(encoding="utf-8")
QUICK = Settings("turbo", effort=1)


@pytest.mark.filterwarnings("ignore")  # of xarray and pandas
@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_an_example_runs(code, tmp_path, monkeypatch):
    pytest.importorskip("zarr", minversion="3")
    if "xarray" in code:
        pytest.importorskip("xarray")
        pytest.importorskip("dask.array")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "zarr.md", "exec"), {})


def decoded(payload):
    """The bytes of a chunk's items, by the page alone: [n, bytes of an item]."""
    if payload.startswith(b"\x89VCZ"):
        voxels = volcomp.decompress(payload).reshape(-1)
        return voxels.view("u1").reshape(len(voxels), -1)
    assert payload[:8] == bytes.fromhex("89 56 43 43 0D 0A 1A 0A")
    kind, rest = payload[8], payload[9:]
    if kind == 2:
        return decoded(rest)[:, ::-1]
    size, rest = varint(rest)
    if kind == 0:
        return planes(rest, size)
    length, rest = varint(rest)
    return planes(rest[:length], size)[volcomp.decompress(rest[length:]).reshape(-1)]


def varint(data):
    value = 0
    for k, byte in enumerate(data):
        value |= (byte & 127) << 7 * k
        if byte < 128:
            return value, data[k + 1 :]
    raise AssertionError


def planes(frame, size):
    return np.frombuffer(zstandard.decompress(frame), "u1").reshape(size, -1).T


@pytest.mark.parametrize(
    "array",
    [
        filled((9, 20, 30), "<i2"),
        filled((20, 30), "?"),
        filled((50, 60), "<f8"),
        filled((8, 9), "<c8"),
        filled((8, 9), "S3"),
        filled((8, 9), "<U2"),
        np.add.outer(np.arange(64), np.arange(64)).astype("<f4") / 3,
    ],
    ids=lambda array: str(array.dtype),
)
def test_a_decoder_from_the_page_alone(array):
    payload = chunks.encode(array, QUICK)
    assert decoded(payload).tobytes() == array.tobytes()
    assert decoded(wrapped.swapped(payload)).tobytes() == chunks.decode_memory(wrapped.swapped(payload)).tobytes()


# By the first version that had the codec. They decode forever.
GOLDEN = {
    "table": (
        "iB>~H4GJ0x0R*lAD77#BWP|_(1ptHy0IRD2t5pD1tE*L2tE*K2s;U60RRC40s#R60s#O50DuAlh02L}gRce5Wm7uD%z{=I&>h%Bx"
        "3J?_<ASEg=H99~=N>Ei=U}b7>b$Wn;g@}rckdl>{nw_AcrKqZ{u(Gwdy1l@{#mLId(9+e|+TGyd<>>0|@bdNe`uzX^K0iM{KR`i3"
        "3Lv1v0|Y84vzggc+t!ksO|`aZeK}HvC69?#Ls|_A8VUmd0034<L{b0%Gy(lMmT%N+5dhW`HT?)_DuHtk%Re0n2lV<D7(Y;%#5e^2"
        "dKKyBPZu)u0T>to0RRU90ZJ1a=~GNWLI41t0w9?Q?3s&K{}2HJ0|=7^0|P?_5d?#1gGnR+DAr%)Z_Ew>G6EC;0094g{D1%F|NQqK"
        "{r~^~00001BsDd9uO8=Ep+Ya=m_5^6IDz#4|ARyzJ{$bsXJjRAqrKsxwXinQVh~kjAOIodfvNeNeq<yCd~a++n$f1#le8Zj=erVZ"
        "Xz;Iif2LsBjOQQ6s`QCns1&`{b1TsN$^FCD3{-V<ruWqsb>jZ6(O5{0hPK}XL-J=yuQqeE>+)M9Xa}~Qj1~9CV$NlJjwKGlFa;CQ"
        "Al_1;mZ?qksOI5;+d=?8x>g`{wT$YRq?}iZwG(s}Xu%Cm{c5)aq0}2nuK<EQwqcOv|B-fp725gR0RRI5AV44x2z)>Q015&D5w*S="
        "0ssI2KLG#$s{#rD006Z<UP=mfV|o"
    ),
    "planes": ("iB>~H4GJ0x00bztFa0E7r2zo60ssJjfB=9%5P*Q7$iNWbL;!#gq9DjH@&Euozd*o1!NNeoLBc`8LBc`80s!U&R|K$!M0W@"),
    "swapped": (
        "iB>~H4GJ0x0*O{bS`7*s3IhND09HsuQUCx&0b3Z7pNi$PQF5R$#Zh);fMnC_xFJKef-B;{UCL@xrv(Fg73t<r7c%q#2nYcP00$h;"
        "$nlIE&&ctN9M8z{j2zF%0peb!^ixbhLI40dtbzmf-_;}U5CH-M2NMDV133W}1{1Kg5I>7guqYP3{Nq-_x?U*(!vFvP14!yxGa<M5"
        "Ua=1W00__%O85c*002+{002b^00019u~|S0c4K+"
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_chunk_decodes(name):
    payload = base64.b85decode(GOLDEN[name])
    if name == "table":
        found = chunks.decode(payload, (24, 24), np.dtype("f4"))
        assert np.array_equal(found, golden_table())
    elif name == "planes":
        found = chunks.decode(payload, (3, 4), np.dtype("c8"))
        assert np.array_equal(found, golden_planes())
    else:
        found = chunks.decode_memory(payload).view(">i2").reshape(8, 8)
        assert np.array_equal(found, golden_swapped())
    assert payload[8] == {"table": wrapped.TABLE, "planes": wrapped.PLANES, "swapped": wrapped.SWAPPED}[name]


def golden_table():
    """Half a thousand values of a third."""
    y, x = np.mgrid[:24, :24]
    return ((y * y + 3 * x) % 97).astype("f4") / np.float32(3)


def golden_planes():
    """Twelve complex numbers."""
    return (np.arange(12) - 1j * np.arange(12) ** 2).astype("c8").reshape(3, 4)


def golden_swapped():
    """A ramp, big-endian."""
    return np.add.outer(np.arange(8), 300 * np.arange(8)).astype(">i2")
