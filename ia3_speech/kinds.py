"""Which module of which transformers model an IA³ vector scales: one row a kind of base.

To support another kind, add a row: the path of the layer list under the model, and for each placement the
module inside a layer and its side. `tests/test_ia3.py` runs every row on a small random model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Side = Literal["in", "out"]

# Placement → what it multiplies, in the order in which tables list them.
PLACEMENTS = {
    "key": "the keys of self-attention, after the bias",
    "value": "the values of self-attention, after the bias",
    "ffn": "the activation between the two linear layers of the feed-forward network (the paper's l_ff)",
    "ffn_output": "the output of the feed-forward network, after the bias",
    "attention_output": "the output of self-attention's last projection, after the bias",
    # Written by other tools (PEFT), read by us; never better than the ones above on this kind of encoder.
    "query": "the queries of self-attention (equal to a key vector in plain attention)",
    "ffn_inner": "the feed-forward network's first linear layer, before the activation",
}


@dataclass(frozen=True)
class Site:
    """One place in a layer: a linear module by its path, and which side of it is scaled."""

    module: str
    side: Side


@dataclass(frozen=True)
class Kind:
    """A kind of encoder: `layers` is the path of its layer list, `sites` maps a placement to its modules."""

    layers: str
    sites: Mapping[str, tuple[Site, ...]]


WAV2VEC2 = Kind(
    layers="{body}.encoder.layers",
    sites={
        "key": (Site("attention.k_proj", "out"),),
        "value": (Site("attention.v_proj", "out"),),
        "ffn": (Site("feed_forward.output_dense", "in"),),
        "ffn_output": (Site("feed_forward.output_dense", "out"),),
        "attention_output": (Site("attention.out_proj", "out"),),
        "query": (Site("attention.q_proj", "out"),),
        "ffn_inner": (Site("feed_forward.intermediate_dense", "out"),),
    },
)

# transformers' config.model_type → kind.
KINDS: dict[str, Kind] = {
    "wav2vec2": WAV2VEC2,
    "hubert": WAV2VEC2,
    "data2vec-audio": WAV2VEC2,
    "unispeech": WAV2VEC2,
    "unispeech-sat": WAV2VEC2,
}
