"""Archives at a URL: only the parts that are needed are fetched, and what goes wrong is one sentence."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.helpers import compress, contents, image
from tests.reading.server import Sent, served
from volcomp import cli
from volcomp.archive.remote import Remote, located
from volcomp.codec import encode
from volcomp.container.sections import LISTING, SLAB, Reader, SectionId
from volcomp.errors import UnsupportedError

pytest.importorskip("aiohttp")
pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 slices of noise, 128², in four slabs: nearly a megabyte; and a file that is kept whole."""
    folder = tmp_path_factory.mktemp("large")
    voxels = np.random.default_rng(0).integers(0, 1 << 12, (48, 128, 128)).astype("u2")
    for i, pixels in enumerate(voxels):
        image(folder / "ct" / f"{i:02}.dcm", pixels, z=i, InstanceNumber=i)
    (folder / "ct" / "report.bin").write_bytes(np.random.default_rng(1).bytes(100_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "SLAB_HEIGHT", 12)
        compress([folder / "ct"], folder / "ct.vcz", model="turbo", effort=1, verify=False)
    return folder


@pytest.fixture
def server(large: Path) -> Iterator[Sent]:
    with served(large) as sent:
        yield sent


def sizes(large: Path, *sections: SectionId) -> int:
    """The bytes of some sections."""
    with (large / "ct.vcz").open("rb") as file:
        reader = Reader(file)
        return sum(reader.places[section].length for section in sections)


SLACK = (1 << 14) + (1 << 12)  # the end of the file, with the index; and its beginning


def test_one_slice_costs_index_lists_and_one_slab(large: Path, server: Sent) -> None:
    size = (large / "ct.vcz").stat().st_size
    assert size > 900_000
    with volcomp.open(f"{server.url}/ct.vcz") as volume:
        assert volume.shape == (48, 128, 128)
        opened = server.bytes
        plane = volume[17]
    import pydicom

    assert np.array_equal(plane, pydicom.dcmread(large / "ct" / "17.dcm").pixel_array)
    lists, slab = sizes(large, SectionId(LISTING, 0)), sizes(large, SectionId(SLAB, 0, 1))
    assert opened <= lists + SLACK + 1000  # with the header of the volume
    assert server.bytes <= opened + slab < size / 3
    assert len(server.ranges) <= 6


def test_values_cost_the_headers_too(large: Path, server: Sent) -> None:
    with volcomp.open(f"{server.url}/ct.vcz") as volume:
        before = server.bytes
        assert volume.spacing == (1, 0.5, 0.5) and server.bytes - before < 20_000
        assert volume.rescaled(17).dtype == np.int16


def test_the_commands_read_urls(
    large: Path, server: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"{server.url}/ct.vcz"
    assert cli.main(["info", url]) == 0
    assert capsys.readouterr().out.startswith(f"{url}: ")
    assert cli.main(["list", url, "--names"]) == 0
    assert capsys.readouterr().out.split() == [*(f"{i:02}.dcm" for i in range(48)), "report.bin"]
    assert server.bytes < 100_000
    server.ranges.clear()
    assert cli.main(["decompress", url, "--slices", "15:17", "--threads", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == url
    assert contents(tmp_path / "ct") == {f"{i}.dcm": (large / "ct" / f"{i}.dcm").read_bytes() for i in (15, 16)}
    assert server.bytes < 400_000
    assert cli.main(["decompress", url, "-o", "v.npy", "--slices", "3", "--threads", "1"]) == 0
    assert np.load("v.npy").shape == (1, 128, 128)
    assert cli.main(["decompress", url, "-o", "all", "--threads", "1"]) == 0
    assert contents(tmp_path / "all") == contents(large / "ct")


def test_python_functions_read_urls(large: Path, server: Sent, tmp_path: Path) -> None:
    url = f"{server.url}/ct.vcz"
    assert len(volcomp.list_files(url)) == 49 and volcomp.info(url)["file"] == url
    assert volcomp.decompress_files(url, tmp_path / "out", slice(3, 4), threads=1).files == 1


def test_memory_and_file_urls(large: Path) -> None:
    import fsspec

    data = (large / "ct.vcz").read_bytes()
    fsspec.filesystem("memory").pipe("/some/ct.vcz", data)
    try:
        with volcomp.open("memory://some/ct.vcz") as volume:
            assert volume.shape == (48, 128, 128) and volume.name == "ct"
    finally:
        fsspec.filesystem("memory").rm("/some/ct.vcz")
    with volcomp.open((large / "ct.vcz").as_uri()) as volume:
        assert volume.shape == (48, 128, 128)
    assert located("file:///a%20b/c.vcz") == Path("/a b/c.vcz") and located("C:/x.vcz") == Path("C:/x.vcz")
    assert located("s3://bucket/x.vcz") == Remote("s3://bucket/x.vcz")


def sentence_of(url: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["info", url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_server_without_ranges_is_told_by_one_sentence(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(large, ranges=False) as sent:
        assert "not parts of them; download the file" in sentence_of(f"{sent.url}/ct.vcz", capsys)


@pytest.mark.parametrize(
    ("status", "sentence"), [(404, "no such file"), (403, "access is denied"), (401, "access"), (500, "cannot be read")]
)
def test_refusals_are_one_sentence(large: Path, status: int, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with served(large, status=status) as sent:
        assert sentence in sentence_of(f"{sent.url}/ct.vcz?key=secret", capsys)


def test_other_failures_are_one_sentence(
    large: Path, server: Sent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no such kind of URL" in sentence_of("nonsense://x/y.vcz", capsys)
    assert "no such file" in sentence_of(f"{server.url}/other.vcz", capsys)
    assert "no such file" in sentence_of("memory://nothing.vcz", capsys)
    assert "cannot be read" in sentence_of("http://127.0.0.1:9/x.vcz", capsys)
    assert "is no volcomp archive" in sentence_of(f"{server.url}/ct/00.dcm", capsys)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert "pip install 'volcomp[remote]'" in sentence_of(f"{server.url}/ct.vcz", capsys)


def test_secrets_of_a_url_are_not_shown() -> None:
    assert str(Remote("https://me:word@host/a/x.vcz?sig=abc")) == "https://host/a/x.vcz"
    assert Remote("https://host/a/x%20y.vcz?sig=abc").stem == "x y"


def test_an_answer_that_is_cut_is_no_archive(large: Path, server: Sent) -> None:
    with volcomp.open(f"{server.url}/ct.vcz") as volume:
        data = (large / "ct.vcz").read_bytes()
        try:
            (large / "ct.vcz").write_bytes(data[:1000])
            with pytest.raises((UnsupportedError, volcomp.DamagedError)):
                volume[0]
        finally:
            (large / "ct.vcz").write_bytes(data)


@pytest.fixture
def bucket(large: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server of our own, as s3fs finds one by the usual variables."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="scans")
    client.upload_file(str(large / "ct.vcz"), "scans", "some/ct.vcz")
    yield "s3://scans/some"
    client.close()
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_s3(large: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import s3fs

    fetched: list[int] = []
    genuine = s3fs.core.S3File._fetch_range

    def counted(self, start, end):
        fetched.append(end - start)
        return genuine(self, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", counted)
    with volcomp.open(f"{bucket}/ct.vcz") as volume:
        assert volume.shape == (48, 128, 128)
        opened = sum(fetched)
        plane = volume[17]
    with volcomp.open(large / "ct.vcz") as volume:
        assert np.array_equal(plane, volume[17])
    assert 0 < opened < 30_000 and opened < sum(fetched) <= opened + sizes(large, SectionId(SLAB, 0, 1))
    assert "no such file" in sentence_of(f"{bucket}/other.vcz", capsys)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    s3fs.S3FileSystem.clear_instance_cache()
    assert "access is denied" in sentence_of(f"{bucket}/ct.vcz", capsys)
