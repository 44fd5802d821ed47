"""The server: it samples clients, averages what they send, and measures the mean on the test set.

Out: OUT/rounds.jsonl, a line an evaluation, of each fifth utterance, and after the last round of all; and
OUT/adapter, the last one's, which `--adapter` takes. A reply that can't be used is named and left out.
"""

import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg

from federated_accent import task
from federated_accent.replies import fault_of, weights_of
from ia3_speech.adapters.methods import save_method
from ia3_speech.common.atomic import write_text

STRATEGIES = {"mean": FedAvg, "median": FedMedian, "trimmed": FedTrimmedAvg}
HEADER_BYTES = 1_024  # of NumPy's format, at most
logger = logging.getLogger("flwr")
app = ServerApp()


class CheckedReplies:
    """A strategy that names clients whose replies can't be used, and leaves them out."""

    base = ""  # SHA-256 of its weights
    initial: task.Arrays = {}  # noqa: RUF012 (set on the strategy)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        """As Flower's, of the replies that can be used, of which nothing unchecked is left."""
        failed, usable, counts = [], [], []
        for reply in replies:
            if reply.has_error():  # Flower's strategy logs it
                failed.append(reply)
                continue
            arrays, metrics, base = (reply.content.get(key, {}) for key in ("arrays", "metrics", "base"))
            try:
                fault = fault_of(self.read(arrays), metrics, base, self.initial, self.base)
            except Exception as error:  # whatever a client sends, the others go on
                fault = f"its reply can't be read: {type(error).__name__}"
            if fault:
                node = reply.metadata.src_node_id
                logger.warning("round %d: node %s is left out: %s", server_round, node, fault)
                continue
            usable.append(reply)
            counts.append(metrics["num-examples"])
        for reply, weight in zip(usable, weights_of(counts), strict=True):
            metrics = MetricRecord({"num-examples": weight})
            reply.content = RecordDict({"arrays": reply.content["arrays"], "metrics": metrics})
        return super().aggregate_train(server_round, failed + usable)

    def read(self, arrays: ArrayRecord) -> task.Arrays:
        """The vectors, none of which is decoded before its bytes are as few as they should be."""
        most = HEADER_BYTES + max(array.nbytes for array in self.initial.values())
        return {name: array.numpy() for name, array in arrays.items() if len(array.data) <= most}


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
    strategy.initial = start
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
