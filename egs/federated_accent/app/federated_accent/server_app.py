"""The server: it samples clients, averages what they send, and measures the mean on the test set.

Out: OUT/rounds.jsonl, a line an evaluation, of each fifth utterance, and after the last round of all; and
OUT/adapter, the last one's, which `--adapter` takes. A reply that can't be used is named and left out.
"""

import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg

from federated_accent import task
from ia3_speech.atomic import write_text
from ia3_speech.training.methods import save_method

STRATEGIES = {"mean": FedAvg, "median": FedMedian, "trimmed": FedTrimmedAvg}
logger = logging.getLogger("flwr")
app = ServerApp()


class CheckedReplies:
    """A strategy that names clients whose vectors hold NaN or are of another base, and leaves them out."""

    base = ""  # SHA-256 of its weights
    shapes: dict[str, tuple[int, ...]] = {}  # noqa: RUF012 (set on the strategy)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        """As Flower's, of the replies that can be used."""
        usable = []
        for reply in replies:
            fault = "" if reply.has_error() else self.fault(reply)
            if fault:
                client = reply.content["base"]["client"]
                logger.warning("round %d: client %s is left out: %s", server_round, client, fault)
            else:
                usable.append(reply)
        return super().aggregate_train(server_round, usable)

    def fault(self, reply: Message) -> str:
        arrays = {name: array.numpy() for name, array in reply.content["arrays"].items()}
        if reply.content["base"]["sha256"] != self.base:
            return "its vectors are of another base"
        if {name: array.shape for name, array in arrays.items()} != self.shapes:
            return "its vectors have other names or sizes"
        if not all(np.isfinite(array).all() for array in arrays.values()):
            return "its vectors hold NaN or infinite values"
        return ""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds."""
    config, out = context.run_config, Path(str(context.run_config["out"]))
    random.seed(config["seed"])
    learner = task.learner(config["base"], config["method"], config["seed"])
    test, start, lines = learner.examples(Path(config["data"]) / "test"), learner.arrays, []
    strategy = type("Strategy", (CheckedReplies, STRATEGIES[config["aggregation"]]), {})(
        fraction_train=1e-9, fraction_evaluate=0.0, min_train_nodes=config["clients"], min_available_nodes=1
    )
    strategy.base = learner.base.fingerprint["sha256"]
    strategy.shapes = {name: array.shape for name, array in start.items()}
    out.mkdir(parents=True, exist_ok=True)

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if server_round % config["evaluate-every"] and server_round != config["rounds"]:
            return None
        learner.put({name: array.numpy() for name, array in arrays.items()})
        wer = learner.wer(test[:: task.CURVE])[0]
        line = {"round": server_round, "wer": wer, "bytes": sum(len(array.data) for array in arrays.values())}
        if server_round == config["rounds"]:
            line["test"] = learner.wer(test)
        lines.append(json.dumps(line) + "\n")
        write_text(out / "rounds.jsonl", "".join(lines))
        save_method(learner.base, out / "adapter", {}, {"round": server_round, "wer": wer})
        return MetricRecord({"wer": wer})

    arrays = ArrayRecord({name: Array(array) for name, array in start.items()})
    strategy.start(grid, arrays, num_rounds=config["rounds"], evaluate_fn=evaluate)
