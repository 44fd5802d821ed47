"""A corpus is fetched from its publisher, whom a server on this machine stands for."""

import tarfile

import corpus_files
import pytest
from publisher import Publisher, serve

from ia3_speech.common.errors import UserError


@pytest.fixture
def download():
    import download

    return download.download


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_files.speechocean762(tmp_path_factory.mktemp("corpus") / "speechocean762")


@pytest.fixture
def publisher(corpus, tmp_path, monkeypatch):
    """A server with the tar file of the tiny corpus; its address is that of OpenSLR's resources."""
    archive = tmp_path / "speechocean762.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, "speechocean762")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    with serve({"/101/speechocean762.tar.gz": archive.read_bytes()}) as address:
        yield address


def test_a_connection_that_breaks_goes_on_where_it_was(download, publisher, corpus, tmp_path):
    Publisher.breaks = [10_000, 20_000]
    url = f"{publisher}/101/speechocean762.tar.gz"
    download(url, tmp_path / "fetched", "speechocean762")
    assert Publisher.asked == [None, "bytes=10000-", "bytes=30000-"]
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["speechocean762"]
    for path in corpus.rglob("*.WAV"):
        copy = tmp_path / "fetched/speechocean762" / path.relative_to(corpus)
        assert copy.read_bytes() == path.read_bytes()
    download(url, tmp_path / "fetched", "speechocean762")
    assert len(Publisher.asked) == 3


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/101/other.tar.gz", {}, r"other\.tar\.gz: .*404.* \(run it again later.*see the recipe"),
        ("/101/speechocean762.tar.gz", {"md5": "0" * 32},
         r"\.part: its md5 is [0-9a-f]{32}, the publisher's 0{32}"),
        ("/101/cut.tar.gz", {}, r"cut\.tar\.gz\.part: cannot be unpacked: .* \(delete it and fetch it"),
        ("/101/evil.tar", {}, r"evil\.tar\.part: cannot be unpacked: .*outside the destination"),
    ],
)  # fmt: skip
def test_faults_of_a_download(download, publisher, tmp_path, path, options, message):
    Publisher.files["/101/cut.tar.gz"] = Publisher.files["/101/speechocean762.tar.gz"][:5000]
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../evil"))
    Publisher.files["/101/evil.tar"] = (tmp_path / "evil.tar").read_bytes()
    with pytest.raises(UserError, match=message):
        download(f"{publisher}{path}", tmp_path / "fetched", **{"name": "speechocean762", **options})
    assert not (tmp_path / "evil").exists()
    assert not [entry for entry in (tmp_path / "fetched").iterdir() if entry.is_dir()]
