"""egs/speaker_adaptation: every stage, a grid of options, and names of speakers that a shell would run."""

import corpus_files

from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "speaker_adaptation"


def kaldi(folder, counts):
    """A data directory; speaker → how many utterances."""
    ids = [f"{speaker}-{number:02d}" for speaker, count in counts.items() for number in range(count)]
    source = str(corpus_files.noise(folder / "some.wav"))
    utterances = [Utterance(id, id[:3], id, source, text="some words", labels={"room": "a"}) for id in ids]
    write_data_directory(folder / "data", utterances)
    return folder / "data"


def test_speakers_and_a_grid_of_their_options(tmp_path, random_base, run_recipe):
    """recipes/speakers.sh, to the end; then --grid, which compares and registers nothing."""
    work, home = tmp_path / "work", tmp_path / "home"
    options = {
        "corpus": kaldi(tmp_path, {"ann": 6, "bob": 6}), "base": random_base, "work-dir": work, "folds": 2,
        "adapt-opts": "--epochs 1", "out-of-domain": work / "data/data/test", "register-anyway": "true",
        "k": "2", "corpus-name": "data", "score-opts": "--replications 100",
    }  # fmt: skip
    for more in ({}, {"grid": "clip=0.5,1", "stop-stage": 7}):
        given = [str(word) for name, value in (options | more).items() for word in (f"--{name}", value)]
        done = run_recipe(RECIPE, *given, IA3_SPEECH_HOME=str(home))
        assert done.returncode == 0, done.stdout + done.stderr
    exp = work / "exp/data"
    systems = {"from_base_k2_seed1"}
    systems |= {f"from_base_k2_clip{clip}_seed1" for clip in ("0.5", "1")}
    assert {path.parents[1].name for path in exp.glob("from_*/decode_greedy_test/score.json")} == systems
    assert len([*exp.glob("from_base_k2_seed1/*/*/decode_greedy_out_of_domain/score.json")]) == 1
    assert (exp / "report_from_base_k2.html").is_file() and (exp / "RESULTS.md").is_file()
    registered = {path.name for path in (home / "adapters").iterdir() if path.name[0] != "."}
    assert registered == {"speakerann", "speakerbob"}
