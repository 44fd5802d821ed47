"""egs/federated_accent: the mean of vectors is that of scaled weights; bad clients are named and left out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import Utterance

flwr = pytest.importorskip("flwr.app", reason="flwr is not installed (pip install 'ia3-speech[federated]')")
RECIPE = "federated_accent"
MODULES = ("experiments",)


def utterances(folder: Path, speaker: str) -> list[Utterance]:
    recorded = []
    for number, text in enumerate(("NO FEVER", "A COUGH")):
        file = folder / f"{speaker}-{number}.wav"
        soundfile.write(file, np.random.default_rng(int(speaker) + number).normal(0, 0.1, 16_000), 16_000)
        recorded.append(Utterance(file.stem, speaker, file.stem, str(file), text=text, duration=1.0))
    return recorded


@pytest.fixture
def data(tmp_path):
    for speaker in ("01", "02", "03"):
        write_data_directory(tmp_path / "data/clients" / speaker, utterances(tmp_path, speaker))
    write_data_directory(tmp_path / "data/test", utterances(tmp_path, "04"))
    return tmp_path / "data"


def test_a_federation_is_the_mean_of_its_clients(local, data, tmp_path, random_base, monkeypatch, caplog):
    """Three clients, one round; where clients 1 and 2 can't be used, the mean is client 0's."""
    experiments = local.experiments
    out, every = tmp_path / "exp", {"clients": 3, "evaluate-every": 1}
    config = experiments.settings(data, out / "ia3", str(random_base), "full", 1, **every)
    sent = {}
    reply = experiments.LocalGrid.reply

    def run(*faults: Callable) -> dict[str, np.ndarray]:
        """The server's vectors after a round, in which replies are kept, and those of clients 1, 2 spoilt."""

        def kept(grid, message):
            answer = reply(grid, message)
            client = int(answer.content["base"]["client"])
            arrays = answer.content["arrays"]
            sent[client] = {name: array.numpy() for name, array in arrays.items()}
            if 0 < client <= len(faults):
                faults[client - 1](answer.content)
            return answer

        monkeypatch.setattr(experiments.LocalGrid, "reply", kept)
        grid = experiments.LocalGrid(3, config)
        context = flwr.Context(0, 0, {}, flwr.RecordDict(), config)
        experiments.server_app.app(grid, context)
        return experiments.task.learner(config["base"], "ia3", 1).arrays

    mean = run()
    for name, vector in mean.items():
        weight = np.random.default_rng(0).normal(size=(len(vector), 4))
        of_weights = np.mean([sent[client][name][:, None] * weight for client in range(3)], axis=0)
        assert np.allclose(vector[:, None] * weight, of_weights, atol=1e-6) and not np.allclose(vector, 1)
    nan = flwr.Array(np.full(32, np.nan, np.float32))
    with caplog.at_level("WARNING", "flwr"):
        left = run(lambda reply: reply["arrays"].update(dict.fromkeys(reply["arrays"], nan)),
                   lambda reply: reply.pop("base"))  # fmt: skip
    assert all(np.allclose(left[name], sent[0][name]) for name in left)
    assert sum("is left out" in record.getMessage() for record in caplog.records) == 2


def test_the_experiments_run_small(local, data, tmp_path, random_base):
    """One with drop-outs of all is the base; LoRA's mean of factors is not the mean of products."""
    experiments, exp = local.experiments, tmp_path / "exp"
    experiments.EXPERIMENTS["nobody"] = {"dropout": 1.0}
    names = ["ia3, a fifth wrong, median", "ia3, epsilon 10", "nobody"]
    for _ in range(2):
        experiments.run(data, exp, str(random_base), 30, 1, names, "small")
    nobody = load_file(exp / "nobody_seed1/adapter/adapter_model.safetensors")
    assert all((vector == 1).all() for vector in nobody.values())
    experiments.identify(data, exp, str(random_base), "small")
    record = json.loads((exp / "identify.json").read_text())
    assert record["speakers"] == 3 and record["lora gap"] > 0 and 0 <= record["identified"] <= 1
    table = "".join(experiments.tables(exp))
    assert "| ia3, a fifth wrong, median | 2 | 1 |" in table and "| central | 2 | 1 |" in table
