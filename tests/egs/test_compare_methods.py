"""egs/compare_methods: most stages, on Kaldi directories."""

import shutil

from corpus_files import noise

from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import Utterance


def test_a_run_on_kaldi_directories(run_recipe, tmp_path, random_base):
    """With IA³, guarded too, and a method of the study, in a folder whose name a shell would read."""
    corpus = tmp_path / "Anna's notes & more"
    for name, letters, seconds in (("train", "abcdef", 11.0), ("dev", "gh", 1.5), ("test", "ij", 1.5)):
        files = {f"{name}-{x}": str(noise(tmp_path / f"{x}.wav", seconds)) for x in letters}
        said = [Utterance(id, name, id, file, text=f"word {id[-1]}") for id, file in files.items()]
        write_data_directory(corpus / name, said)
    shutil.copytree(corpus / "test", tmp_path / "other")
    options = ["--corpus", str(corpus), "--work-dir", str(tmp_path / "w"), "--size", "small", "--seeds", "1"]
    options += ["--base", str(random_base), "--task", "own"]
    options += ["--methods", "ia3_plus_guarded head", "--rates", "ia3_plus=1e-2 head=1e-2"]
    options += ["--out-of-domain", str(tmp_path / "other")]
    for stages in (("1", "1"), ("3", "100")):
        done = run_recipe("compare_methods", *options, "--stage", stages[0], "--stop-stage", stages[1])
        assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ")[0] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows[-3:] == ["| base", "| ia3_plus_guarded", "| head"]
