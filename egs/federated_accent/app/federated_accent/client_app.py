"""A client: it receives vectors, learns from the speech that stays with it, and sends vectors back."""

import random
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.clientapp.typing import ClientAppCallable

from federated_accent import task

DELTA = 1e-5


def add_privacy(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Flower's mod for local differential privacy, where the run has an epsilon."""
    config = context.run_config
    if not config["epsilon"]:
        return call_next(message, context)
    mod = LocalDpMod(config["clipping"], config["clipping"], config["epsilon"], DELTA)
    return mod(message, context, call_next)


app = ClientApp(mods=[add_privacy])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Vectors → vectors after some epochs on this client's speech; how many utterances, and which base."""
    config, number = context.run_config, int(context.node_config["partition-id"])
    round_number = int(message.content["config"]["server-round"])
    rng = random.Random(f"{config['seed']} {round_number} {number}")
    if rng.random() < config["dropout"]:
        raise ConnectionError(f"client {number} dropped out")
    learner = task.learner(config["base"], config["method"], config["seed"])
    examples = learner.examples(task.client_folders(Path(config["data"]))[number])
    if config["wrong"] and number % round(1 / config["wrong"]) == 0:
        examples = learner.with_wrong_texts(examples, number)
    learner.put({name: array.numpy() for name, array in message.content["arrays"].items()})
    rate = config["rate"] * (1 - (round_number - 1) / config["rounds"])
    loss = learner.train(examples, rate, config["epochs"], seed=round_number)
    content = {
        "arrays": ArrayRecord({name: Array(array) for name, array in learner.arrays.items()}),
        "metrics": MetricRecord({"num-examples": len(examples), "loss": loss}),
        "base": ConfigRecord({"sha256": learner.base.fingerprint["sha256"], "client": number}),
    }
    return Message(RecordDict(content), reply_to=message)
