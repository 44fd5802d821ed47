"""egs/speechocean762: the corpus is fetched from its publisher, and prepared."""

import tarfile

from corpus_files import speechocean762
from publisher import serve

from ia3_speech.data.kaldi import read_data_directory


def test_the_recipe_fetches_and_goes_on(run_recipe, tmp_path):
    corpus = speechocean762(tmp_path / "corpus/speechocean762")
    with tarfile.open(tmp_path / "speechocean762.tar.gz", "w:gz") as tar:
        tar.add(corpus, "speechocean762")
    options = ("--download", "fetched", "--stop-stage", "1", "--work-dir", "work", "--size", "small")
    with serve({"/101/speechocean762.tar.gz": (tmp_path / "speechocean762.tar.gz").read_bytes()}) as address:
        done = run_recipe("speechocean762", *options, cwd=tmp_path, OPENSLR=address, HF_HUB_OFFLINE="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"{tmp_path}/fetched/speechocean762: unpacked (sha256 of speechocean762.tar.gz: "
    )
    assert len(read_data_directory(tmp_path / "work/data/speechocean762_small/dev")) == 4
