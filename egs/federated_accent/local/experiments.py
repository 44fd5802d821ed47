"""All experiments of the federation, one after another in one process, and their tables.

Out: EXP/NAME_seedN/{rounds.jsonl, adapter} for each experiment, EXP/central_seedN, EXP/base.json,
EXP/identify.json. Finished parts are not run again. The two apps run here as they are, on a grid that calls
the client in this process; `flwr run` starts them on Flower's own simulation or on real machines.
"""

import json
import random
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import speechocean762
from flwr.app import Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.registry import check_name
from ia3_speech.common.atomic import write_json, write_text
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.model.base import load_base
from ia3_speech.scoring.table import Rate, markdown_table

APP = Path(__file__).resolve().parents[1] / "app"
sys.path.insert(0, str(APP))
from federated_accent import client_app, server_app, task  # noqa: E402

# Name → differences from pyproject.toml. The others are compared with the first.
EXPERIMENTS: dict[str, dict] = {
    "ia3": {},
    "ia3, 20 clients a round": {"clients": 20},
    "lora r 4": {"method": "lora", "rate": 1e-3},
    "ia3, 30 % drop out": {"dropout": 0.3},
    **{f"ia3, a fifth wrong, {name}": {"wrong": 0.2, "aggregation": name} for name in server_app.STRATEGIES},
    **{f"ia3, epsilon {epsilon:g}": {"epsilon": epsilon} for epsilon in (1.0, 10.0, 100.0, 1000.0)},
}
SMALL = {"rounds": 2, "clients": 2, "evaluate-every": 1}


def folder_of(exp: Path, name: str, seed: int | str) -> Path:
    return exp / f"{name.replace(',', '').replace(' ', '_').replace('%', 'percent')}_seed{seed}"


class LocalGrid:
    """The part of Flower's grid that a strategy uses: clients are called one by one in this process."""

    def __init__(self, clients: int, config: dict):
        self.clients, self.config = clients, config
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1  # of the messages' sender

    def get_node_ids(self) -> Iterable[int]:
        return range(1, self.clients + 1)

    def send_and_receive(self, messages: Iterable[Message], *, timeout=None) -> list[Message]:
        """The replies; of a client that raises an exception an error, as Flower's runtimes make it."""
        return [self.reply(message) for message in messages]

    def reply(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        context = Context(0, node, {"partition-id": node - 1}, RecordDict(), self.config)
        try:
            return client_app.app(message, context)
        except Exception as error:
            return Message(Error(0, str(error)), reply_to=message)


def prepare(corpus: Path, out: Path, size: Size = "full") -> None:
    """Write the speakers of train, each in a data directory of its own, and the test set; `small` are four
    speakers and each 30th utterance of the test set."""
    speechocean762.prepare(corpus, out / "whole")
    train, dev = (read_data_directory(out / "whole" / name).speakers for name in ("train", "dev"))
    for speaker, spoken in sorted((train | dev).items())[: 4 if size == "small" else None]:
        write_data_directory(out / "clients" / check_name(speaker), spoken)
    test = [u for name in ("adults", "children") for u in read_data_directory(out / "whole" / f"test_{name}")]
    write_data_directory(out / "test", test[:: 30 if size == "small" else 1])
    print(f"{len(task.client_folders(out))} clients")


def settings(data: Path, out: Path, base: str, size: Size, rounds: int, **changes) -> dict:
    """A run's configuration: pyproject.toml's, and the changes."""
    file = tomllib.loads((APP / "pyproject.toml").read_text("utf-8"))
    config = file["tool"]["flwr"]["app"]["config"] | {"rounds": rounds, **changes}
    config |= {"data": str(data.resolve()), "out": str(out), "base": base}
    return config | (SMALL if size == "small" else {})


def run(data: Path, exp: Path, base: str, rounds: int, seed: int, wanted: list[str], size: Size) -> None:
    """Run the missing parts: the base, the experiments, and central training on the same data."""
    if not (exp / "base.json").exists():
        learner = task.learner(base, "ia3", seed)
        write_json(exp / "base.json", {"test": learner.wer(learner.examples(data / "test"))})
    for name, changes in EXPERIMENTS.items():
        out = folder_of(exp, name, seed)
        if (out / "done.json").exists() or (wanted and name not in wanted):
            continue
        config = settings(data, out, base, size, rounds, seed=seed, **changes)
        grid = LocalGrid(len(task.client_folders(data)), config)
        task.learner.cache_clear()  # each from the same start
        server_app.app(grid, Context(0, 0, {}, RecordDict(), config))
        write_json(out / "done.json", config)
    out = folder_of(exp, "central", seed)
    if not (out / "done.json").exists():
        central(data, out, settings(data, out, base, size, rounds, seed=seed))


def central(data: Path, out: Path, config: dict) -> None:
    """One training in one place, on the speech of the federation's clients, round by round; the rate falls in
    the same way."""
    task.learner.cache_clear()
    learner = task.learner(config["base"], config["method"], config["seed"])
    rng, folders = random.Random(config["seed"]), task.client_folders(data)
    for number in range(config["rounds"]):
        examples = [e for folder in rng.sample(folders, config["clients"]) for e in learner.examples(folder)]
        rate = config["rate"] * (1 - number / config["rounds"])
        learner.train(examples, rate, config["epochs"], seed=number)
    test = learner.examples(data / "test")
    wer = learner.wer(test[:: task.CURVE])[0]
    line = {"round": config["rounds"], "wer": wer, "bytes": 0, "test": learner.wer(test)}
    write_text(out / "rounds.jsonl", json.dumps(line) + "\n")
    write_json(out / "done.json", config)


def identify(data: Path, exp: Path, base: str, size: Size) -> None:
    """Write how well a server can identify a client, from vectors that were trained on either half of a
    speaker's utterances.

    EXP/identify.json has the share of speakers whose second vectors are nearest (cosine of l − 1) to their
    own first vectors; the same against means of five clients' first vectors, one of which has the speaker's
    in it; how far the mean of five clients' factors of LoRA is from the mean of their products; and the sizes
    of what would travel. Tomashenko et al. 2021, arXiv 2111.03777."""
    config, updates = settings(data, exp, base, size, 1), {}
    folders = task.client_folders(data)[: 4 if size == "small" else None]
    for method in ("ia3", "lora"):
        learner = task.Learner(base, method, config["seed"])
        start, rate = learner.arrays, config["rate"] if method == "ia3" else 1e-3
        for half in (0, 1) if method == "ia3" else (0,):
            for folder in folders[: len(folders) if method == "ia3" else 5]:
                learner.put(start)
                learner.train(learner.examples(folder)[half::2], rate, 1, seed=1)
                updates.setdefault((method, half), []).append(learner.arrays)
    first, second = (np.array([flat(a) - 1 for a in updates["ia3", half]]) for half in (0, 1))
    groups = np.array_split(np.arange(len(folders)), max(1, len(folders) // 5))
    means = np.array([first[group].mean(0) for group in groups])
    group_of = np.concatenate([np.full(len(group), number) for number, group in enumerate(groups)])
    record = {
        "speakers": len(folders),
        "identified": float(np.mean(nearest(second, first) == np.arange(len(folders)))),
        "groups": len(groups),
        "group identified": float(np.mean(nearest(second, means) == group_of)),
        "lora gap": product_gap(updates["lora", 0]),
        "bytes": {method: 4 * flat(updates[method, 0][0]).size for method in ("ia3", "lora")},
        "full bytes": sum(4 * p.numel() for p in load_base(base).model.parameters()),
    }
    write_json(exp / "identify.json", record)
    print(record)


def flat(arrays: task.Arrays) -> np.ndarray:
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def nearest(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The number of the known vector with the largest cosine, of each row."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, known)]
    return (unit[0] @ unit[1].T).argmax(1)


def product_gap(clients: list[task.Arrays]) -> float:
    """‖mean(BA) − mean(B)·mean(A)‖ / ‖mean(BA)‖ over all modules of LoRA."""
    gap = size = 0.0
    for name in (name for name in clients[0] if "lora_A" in name):
        pairs = [(c[name.replace("lora_A", "lora_B")].astype(float), c[name].astype(float)) for c in clients]
        exact = np.mean([b @ a for b, a in pairs], axis=0)
        of_means = np.mean([b for b, _ in pairs], axis=0) @ np.mean([a for _, a in pairs], axis=0)
        gap, size = gap + np.sum((exact - of_means) ** 2), size + np.sum(exact**2)
    return float(np.sqrt(gap / size))


def tables(exp: Path) -> Iterable[str]:
    """Markdown: the experiments, and what a server learns of a client."""
    before = read_json(exp / "base.json")["test"]
    rows, gains = [["base", None, None, Rate(before[0], before[1:]), None, None, None]], []
    for name in ["central", *EXPERIMENTS]:
        if files := sorted(exp.glob(f"{folder_of(exp, name, '*').name}/done.json")):
            texts = [(file.parent / "rounds.jsonl").read_text("utf-8").splitlines() for file in files]
            runs = [[json.loads(line) for line in text] for text in texts]
            config, lines = read_json(files[0]), runs[0]
            curve = " ".join(f"{line['round']}: {100 * line['wer']:.1f}" for line in lines)
            test = sorted(run[-1]["test"] for run in runs)[len(runs) // 2]
            gains.append(before[0] - test[0])
            share = f"{100 * gains[-1] / gains[0]:.0f}" if gains[0] else None
            sent = f"{lines[-1]['bytes']:,}" if lines[-1]["bytes"] else None
            row = [name, str(config["rounds"]), str(len(runs)), Rate(test[0], test[1:]), share, sent, curve]
            rows.append(row)
    head = ["experiment", "rounds", "seeds", "test WER %", "of central's gain %"]
    head += ["bytes a client and round, each way"]
    head += [f"WER % after round, each {task.CURVE}th utterance, seed 1"]
    yield markdown_table(head, rows)
    if (exp / "identify.json").exists():
        r = read_json(exp / "identify.json")
        seen = [("one client's vectors", r["speakers"], r["identified"])]
        seen.append(("the mean of five clients'", r["groups"], r["group identified"]))
        head = ["what a server sees", "of so many", "identified by the speaker's other half %", "chance %"]
        yield markdown_table(head, [[what, str(of), Rate(share), Rate(1 / of)] for what, of, share in seen])
        yield (
            f"The mean of LoRA's factors differs from the mean of their products by {r['lora gap']:.1%} of "
            f"its norm. Bytes: IA³ {r['bytes']['ia3']:,}, LoRA {r['bytes']['lora']:,}, "
            f"all weights {r['full bytes']:,}.\n"
        )
