"""egs/medical_dictation: the recipe itself, small, from end to end; killed on its way, and run again."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ia3_speech.data.kaldi.directory import read_data_directory

ROOT = Path(__file__).parents[2]
# As little training as shows that it works, with a checkpoint on the way to go on from; five sentences of
# other speech. Of a random base no adapter is known to help.
OTHER = "ia3_speech/out_of_domain/librispeech_dev:6"
SMALL = ["--size", "small", "--small-opts", "--epochs 1 --checkpoint-steps 2", "--out-of-domain", OTHER]
SMALL += ["--register-anyway", "true", "--replay", "none", "--score-opts", "--replications 100"]


class Run:
    """A run of the recipe that is over."""

    def __init__(self, work: Path, base: Path, path: str):
        self.work, self.home, self.exp = work, work / "home", work / "exp/espeak_small"
        self.environment = os.environ | {"PATH": path, "IA3_SPEECH_HOME": str(self.home)}
        self.environment["CUDA_VISIBLE_DEVICES"] = ""
        self.environment.pop("UV_RUN_RECURSION_DEPTH", None)  # commands are printed for this Python
        self.command = ["bash", str(ROOT / "egs/medical_dictation/run.sh"), *SMALL]
        self.command += ["--work-dir", str(work), "--base", str(base)]

    def start(self) -> subprocess.Popen:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options = {"cwd": ROOT, "env": self.environment, "start_new_session": True}
        return subprocess.Popen(self.command, **options, **streams)

    def finish(self) -> str:
        process = self.start()
        out, err = process.communicate()
        assert process.returncode == 0, out + err
        return out

    def read(self, file: str) -> dict:
        return json.loads((self.exp / file).read_text())


@pytest.fixture(scope="module")
def ran(tmp_path_factory, random_base, forking_path):
    """The whole recipe: killed in the middle of training, then run to its end."""
    run = Run(tmp_path_factory.mktemp("medical"), random_base, forking_path)
    process = run.start()
    checkpoint = run.exp / "ia3_plus_seed1/checkpoints/last.pt"
    while not checkpoint.exists():
        assert process.poll() is None, "".join(process.communicate())
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run.out = run.finish()
    return run


def steps(text: str) -> list[tuple[str, str]]:
    """The steps of a recipe, and how long each took, or `up to date`."""
    lines = [line for line in text.splitlines() if line.startswith("stage ")]
    return [tuple(line.split(" … ")) for line in lines if not line.endswith(" … ")]  # its progress follows


def test_a_killed_run_goes_on_where_it_was(ran):
    done = steps(ran.out)[:6]
    assert [step[6] for step, _ in done] == ["1", "2", "3", "3", "4", "4"]
    assert {took for _, took in done} == {"up to date"}
    log = (ran.exp / "log/train_ia3_plus_seed1.log").read_text()
    assert re.search(r"ia3_plus_seed1: resuming after step \d+ of \d+", log)


def test_results_json_has_every_system_and_speaker42_its_own(ran):
    results = ran.read("results.json")
    tested = [row for row in results["results"] if row["set"] == "test"]
    systems = ["base", "ia3_plus", "base + LM", "ia3_plus + LM", "ia3_plus + LM + hot words"]
    assert [row["name"] for row in tested] == systems
    assert sum(row["set"] == "out_of_domain" for row in results["results"]) == 2
    assert {(row["utterances"], row["ci_unit"]) for row in tested} == {(24, "speaker")}
    data = ran.work / "data/espeak_small/speaker42"
    assert len(read_data_directory(data / "train")) == 15 and not (data / "dev").exists()
    for name in ("test", "out_of_domain"):
        rows = [row for row in ran.read("speaker42/results.json")["results"] if row["set"] == name]
        assert [row["name"] for row in rows] == ["base", "medical", "speaker42"]
    log = (ran.exp / "speaker42/log/train_speaker42_seed1.log").read_text()
    assert f"{ran.exp}/ia3_plus_seed1/adapter: loss " in log  # as a start, which the folds may refuse


def test_the_language_model_knows_the_lists_and_no_test_sentence(ran):
    assert [Path(name).name for name in ran.read("lm.json")["weights"]] == ["train", "lm_texts"]
    lines = set((ran.exp / "lm_texts").read_text().splitlines())
    assert "atrial fibrillation" in " ".join(lines)
    tested = read_data_directory(ran.work / "data/espeak_small/test")
    assert not lines & {utterance.text.lower() for utterance in tested}


def test_both_adapters_are_registered_and_the_printed_command_works(ran):
    registered = {path.name for path in (ran.home / "adapters").iterdir() if path.name[0] != "."}
    assert registered == {"medical_small", "speaker42_small"}  # a small run takes no full run's name
    command = ran.out.splitlines()[-2].removeprefix("Use:    ")
    start = f"IA3_SPEECH_HOME={ran.home} python -m ia3_speech.transcribe --adapter speaker42_small "
    assert command.startswith(start)
    options = {"cwd": ROOT, "env": ran.environment, "capture_output": True, "text": True}
    printed = subprocess.run(["bash", "-c", command], **options)
    assert printed.returncode == 0, printed.stderr


def test_dev_chooses_the_search(ran):
    scores = {
        search: ran.read(f"ia3_plus_seed1/decode_{search}_dev/score.json")["wer"]
        for search in ("greedy", "lm", "hotwords")
    }
    entry = ran.read("registered.json")["medical_small"]
    assert entry["chosen_on"] == "dev" and scores[entry["search"]] == min(scores.values())
    speaker = ran.read("speaker42/registered.json")["speaker42_small"]
    assert (speaker["search"], speaker["chosen_on"]) == ("greedy", None)
