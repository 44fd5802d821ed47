"""egs/federated_accent: the mean of vectors is that of scaled weights; bad clients are named and left out."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance

flwr = pytest.importorskip("flwr.app", reason="flwr is not installed (pip install 'ia3-speech[federated]')")
RECIPE = "federated_accent"
MODULES = ("experiments",)


def utterances(folder: Path, speaker: str) -> list[Utterance]:
    made = []
    for number, text in enumerate(("NO FEVER", "A COUGH")):
        file = folder / f"{speaker}-{number}.wav"
        soundfile.write(file, np.random.default_rng(int(speaker) + number).normal(0, 0.1, 16_000), 16_000)
        made.append(Utterance(file.stem, speaker, file.stem, str(file), text=text, duration=1.0))
    return made


@pytest.fixture
def data(tmp_path):
    for speaker in ("01", "02", "03"):
        write_data_directory(tmp_path / "data/clients" / speaker, utterances(tmp_path, speaker))
    write_data_directory(tmp_path / "data/test", utterances(tmp_path, "04"))
    return tmp_path / "data"


def test_a_federation_is_the_mean_of_its_clients(local, data, tmp_path, random_base, monkeypatch, caplog):
    """Three clients, one round; client 1 sends NaN, client 2 is of another base: the mean is client 0's."""
    experiments = local.experiments
    out, every = tmp_path / "exp", {"clients": 3, "evaluate-every": 1}
    config = experiments.settings(data, out / "ia3", str(random_base), "full", 1, **every)
    sent = {}
    reply = experiments.LocalGrid.reply

    def run(spoil: bool) -> dict[str, np.ndarray]:
        """The server's vectors after a round, in which the replies are kept, and perhaps spoiled."""

        def kept(grid, message):
            answer = reply(grid, message)
            client = int(answer.content["base"]["client"])
            arrays = answer.content["arrays"]
            sent[client] = {name: array.numpy() for name, array in arrays.items()}
            if spoil and client == 1:
                name = next(iter(arrays))
                arrays[name] = flwr.Array(np.full_like(sent[client][name], np.nan))
            if spoil and client == 2:
                answer.content["base"]["sha256"] = "another"
            return answer

        monkeypatch.setattr(experiments.LocalGrid, "reply", kept)
        grid = experiments.LocalGrid(3, config)
        context = flwr.Context(0, 0, {}, flwr.RecordDict(), config)
        experiments.server_app.app(grid, context)
        return experiments.task.learner(config["base"], "ia3", 1).arrays

    mean = run(spoil=False)
    for name, vector in mean.items():
        weight = np.random.default_rng(0).normal(size=(len(vector), 4))
        of_weights = np.mean([sent[client][name][:, None] * weight for client in range(3)], axis=0)
        assert np.allclose(vector[:, None] * weight, of_weights, atol=1e-6) and not np.allclose(vector, 1)
    rounds = [json.loads(line) for line in (out / "ia3/rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in rounds] == [0, 1] and rounds[0]["bytes"] > 4 * sum(
        map(len, mean.values())
    )
    with caplog.at_level("WARNING", "flwr"):
        left = run(spoil=True)
    assert all(np.allclose(left[name], sent[0][name]) for name in left)
    assert "client 1 is left out: its vectors hold NaN" in caplog.text
    assert "client 2 is left out: its vectors are of another base" in caplog.text


def test_the_experiments_run_small(local, data, tmp_path, random_base, capsys):
    """One with drop-outs of all is the base; LoRA's mean of factors is not the mean of products."""
    experiments, exp = local.experiments, tmp_path / "exp"
    experiments.EXPERIMENTS["nobody"] = {"dropout": 1.0}
    names = "ia3, a fifth wrong, median;ia3, epsilon 10;nobody"
    for _ in range(2):
        experiments.run(data, exp, str(random_base), only=names, size="small")
    nobody = load_file(exp / "nobody_seed1/adapter/adapter_model.safetensors")
    assert all((vector == 1).all() for vector in nobody.values())
    experiments.identify(data, exp, str(random_base), size="small")
    record = json.loads((exp / "identify.json").read_text())
    assert record["speakers"] == 3 and record["lora gap"] > 0 and 0 <= record["identified"] <= 1
    capsys.readouterr()
    experiments.table(exp)
    table = capsys.readouterr().out
    assert "| ia3, a fifth wrong, median | 2 | 1 |" in table and "| central | 2 | 1 |" in table
