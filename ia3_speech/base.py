"""A frozen CTC base: found by name, fingerprinted, and run so that a row alone equals a row in a batch.

    base = load_base("mini")                      # shipped; or a folder, or a hub id
    logits = base.logits([wave])                  # [(frames, vocabulary)], fp32

In: waveforms, float32 (samples,), 16 kHz mono. Out: one tensor of logits each, as long as its own frames.

Why not simply `model(batch)`: (1) where the front end normalises over time (`feat_extract_norm="group"`,
the wav2vec2-base and HuBERT-base kind) padding changes every frame, so there the front end runs utterance by
utterance; (2) transformers' convolutional `add_adapter`, and data2vec's positional convolutions, look across
a row's end into the padding, so that is zeroed, as it is for a row alone; (3) the encoder always gets an
attention mask.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ia3_speech.audio import SAMPLE_RATE
from ia3_speech.cli import UserError
from ia3_speech.ia3 import IA3Vector
from ia3_speech.text import Vocabulary, normalize

MINI = Path(__file__).parent / "mini"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class BaseError(UserError):
    """A base that can't be found, loaded or used."""


@dataclass
class Base:
    """A transformers CTC model with all that is needed to run it. The model is in eval mode and frozen."""

    name: str
    model: nn.Module
    processor: Any
    vocabulary: Vocabulary
    fingerprint: dict[str, Any]
    kernels: list[tuple[int, int]] = field(
        repr=False
    )  # (kernel, stride) of the front end, from the waveform up

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def body(self) -> nn.Module:
        """The encoder under the head: wav2vec2, hubert, …"""
        return self.model.base_model

    @property
    def stride(self) -> int:
        """Samples from one frame to the next: 320, 20 ms."""
        return int(np.prod([stride for _, stride in self.kernels]))

    @property
    def minimum_samples(self) -> int:
        """The shortest input that gives one frame."""
        return self.samples(1)

    def frames(self, samples: int) -> int:
        """Frames of logits for an input of that many samples."""
        for kernel, stride in self.kernels:
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def samples(self, frames: int) -> int:
        """The fewest samples that give that many frames."""
        for kernel, stride in reversed(self.kernels):
            frames = (frames - 1) * stride + kernel
        return frames

    def prepare(self, wave: np.ndarray) -> torch.Tensor:
        """(samples,) → the model's input (samples,), normalised as the base's processor does."""
        extractor = self.processor.feature_extractor
        values = extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values[0]
        return values.to(self.device, self.model.dtype)

    @torch.no_grad()
    def front_end(self, wave: np.ndarray, depth: int | None = None) -> torch.Tensor:
        """(samples,) → (frames, channels): what the frozen part makes of one utterance.

        depth: None for the convolutions alone; k for all that stands below encoder layer k.
        """
        values = self.prepare(wave)[None]
        if depth is None:
            return self.body.feature_extractor(values)[0].T
        caught: list[torch.Tensor] = []

        def catch(_module: nn.Module, args: tuple) -> None:
            caught.append(args[0])
            raise Caught

        handle = self.body.encoder.layers[depth].register_forward_pre_hook(catch)
        try:
            self.body(values)
        except Caught:
            return caught[0][0]
        finally:
            handle.remove()
        raise BaseError(f"{self.name}: layer {depth} was never reached")

    def forward(
        self, features: Sequence[torch.Tensor], depth: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From what `front_end` gave to logits, with gradients where they are wanted.

        Args:
            features: one tensor (frames, channels) a row.
            depth: as it was for `front_end`.

        Returns:
            logits (batch, frames, vocabulary), and the rows' frames (batch,). Beyond a row's own frames its
            logits mean nothing.
        """
        lengths = torch.tensor([len(f) for f in features])
        padded = nn.utils.rnn.pad_sequence(list(features), batch_first=True)
        samples = torch.tensor([self.samples(int(n)) for n in lengths])
        mask = (torch.arange(int(samples.max())) < samples[:, None]).long().to(self.device)
        # Only the shape of the waveform is looked at: its features are there already.
        values = torch.zeros(1, 1, device=self.device, dtype=self.model.dtype).expand(mask.shape)
        with entered(self.body, padded, depth), silent_padding(self.body, lengths):
            logits = self.model(values, attention_mask=mask).logits
        return logits, lengths.to(self.device)

    @torch.no_grad()
    def logits(self, waves: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """One (frames, vocabulary) tensor a wave, fp32 on the CPU, each equal to that wave alone."""
        logits, lengths = self.forward([self.front_end(wave) for wave in waves])
        return [row[:n].float().cpu() for row, n in zip(logits, lengths.tolist(), strict=True)]

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A `data_collator` for transformers' Trainer (with `remove_unused_columns=False`).

        rows: `audio`, (samples,) at 16 kHz or what `datasets` decodes ({"array": …}), and `text`, which is
        normalised as in our own training. Gives input_values and attention_mask (batch, samples), and labels
        (batch, characters) padded with −100. Raises VocabularyError for a character the base can't write.
        """
        waves = [
            np.asarray(r["audio"]["array"] if isinstance(r["audio"], dict) else r["audio"]) for r in rows
        ]
        values = [self.prepare(wave.astype(np.float32)).cpu() for wave in waves]
        labels = [torch.tensor(self.vocabulary.encode(normalize(row["text"]))) for row in rows]
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        mask = pad([torch.ones(len(v), dtype=torch.long) for v in values])
        return {
            "input_values": pad(values),
            "attention_mask": mask,
            "labels": pad(labels, padding_value=-100),
        }


class Caught(Exception):
    """Ends a forward pass at the layer whose input was wanted."""


@contextmanager
def entered(body: nn.Module, features: torch.Tensor, depth: int | None) -> Iterator[None]:
    """Let the forward pass begin with `features` (batch, frames, channels) instead of the waveform.

    The modules that are done already hand on what they get: everything else, masks included, is
    transformers' own code.
    """
    stand_ins = {body.feature_extractor: lambda *_a, **_k: features.transpose(1, 2)}
    if depth is not None:
        encoder = body.encoder
        projected = (features, features) if returns_pair(body) else features
        stand_ins[body.feature_projection] = lambda *_a, **_k: projected
        stand_ins[encoder.pos_conv_embed] = lambda hidden, *_a, **_k: torch.zeros_like(hidden)
        if not getattr(body.config, "do_stable_layer_norm", False):  # there it stands above the layers
            stand_ins[encoder.layer_norm] = lambda hidden, *_a, **_k: hidden
        for layer in encoder.layers[:depth]:
            stand_ins[layer] = lambda hidden, *_a, **_k: hidden
    for module, forward in stand_ins.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in stand_ins:
            del module.forward


def returns_pair(body: nn.Module) -> bool:
    """Wav2Vec2's feature projection returns (projected, normalised); HuBERT's the first alone."""
    return not type(body).__name__.startswith("Hubert")


@contextmanager
def silent_padding(body: nn.Module, lengths: torch.Tensor) -> Iterator[None]:
    """Zero what lies beyond each row's frames before each of several convolutions in a row: those of
    transformers' `add_adapter`, and data2vec's positional ones. A row alone meets zero padding there."""
    stacks = (getattr(body, "adapter", None), getattr(body.encoder, "pos_conv_embed", None))
    layers = [layer for stack in stacks for layer in getattr(stack, "layers", ())]
    if not layers or len(lengths) == 1:
        yield
        return

    def silence(_module: nn.Module, args: tuple) -> tuple:
        x = args[0]  # (batch, channels, frames)
        inside = torch.arange(x.shape[2], device=x.device) < lengths.to(x.device)[:, None]
        return (x * inside[:, None].to(x.dtype), *args[1:])

    handles = [layer.register_forward_pre_hook(silence) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def load_base(name: str | Path = "mini", *, dtype: str = "float32", device: str | None = None) -> Base:
    """Load a CTC base by name: `mini`, a folder, or a hub id.

    Args:
        dtype: float32, float16 or bfloat16.
        device: a torch device; None takes CUDA where there is one.

    Raises:
        BaseError: not found (with the places looked at), not a CTC model, or without a tokenizer.
    """
    from transformers import AutoModelForCTC, AutoProcessor
    from transformers.utils import logging as transformers_logging

    source = str(MINI) if str(name) == "mini" else str(name)
    if source == str(MINI) and not (MINI / "model.safetensors").exists():
        raise BaseError("the mini base is not in this installation (reinstall, or pass --base FOLDER)")
    if dtype not in DTYPES:
        raise BaseError(f"dtype is {dtype!r}, not one of {', '.join(DTYPES)}")
    local = Path(source).is_dir()
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # the load report of unused weights is no news for a CTC base
    transformers_logging.disable_progress_bar()
    try:
        options = {"local_files_only": local, "dtype": DTYPES[dtype], "use_safetensors": True}
        model = AutoModelForCTC.from_pretrained(source, **options)
        processor = AutoProcessor.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError, KeyError) as error:
        raise BaseError(cannot_load(name, source, error)) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # A folder is recorded by its full path, so that an adapter finds it from anywhere.
    name = str(Path(source).resolve()) if local and source != str(MINI) else str(name)
    return make_base(model.to(device), processor, name)


def cannot_load(name: str | Path, source: str, error: Exception) -> str:
    reason = str(error).strip().split("\n")[0]
    if Path(source).is_dir():
        return f"{source} holds no CTC model that transformers can load: {reason}"
    return (
        f"no base {str(name)!r}: it is not mini, no folder {Path(source).absolute()}, and as a hub id it "
        f"can't be had: {reason}"
    )


def make_base(model: nn.Module, processor: Any, name: str) -> Base:
    """Wrap a loaded model. Raises BaseError where it is not a CTC recogniser over waveforms."""
    config = model.config
    if not hasattr(model, "lm_head") or not hasattr(processor, "tokenizer"):
        raise BaseError(f"{name} is a {type(model).__name__}, not a CTC model with a tokenizer")
    kernels = list(zip(config.conv_kernel, config.conv_stride, strict=True))
    if getattr(config, "add_adapter", False) and config.adapter_stride != 1:
        raise BaseError(
            f"{name}: add_adapter with stride {config.adapter_stride} is not supported (only 1 is)"
        )
    model.eval().requires_grad_(False)
    vocabulary = Vocabulary.from_tokenizer(processor.tokenizer)
    return Base(name, model, processor, vocabulary, fingerprint(model), kernels)


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """What tells one base from another: architecture, sizes, and a SHA-256 over its weights.

    The digest runs over the parameters as float32 in module order, weight norm folded, IA³ vectors left
    out. `masked_spec_embed` is left out too: many published CTC checkpoints lack it, transformers then draws
    it at random, and recognition never uses it.
    """
    config = model.config
    sizes = {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "ffn": config.intermediate_size,
        "vocabulary": config.vocab_size,
    }
    record = {"architecture": type(model).__name__, "model_type": config.model_type, **sizes}
    return record | {"dtype": str(model.dtype).removeprefix("torch."), "sha256": weights_digest(model)}


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over `weights`; computed again only where a weight was written to or moved."""
    state = [(p.data_ptr(), p._version) for n, p in model.named_parameters() if ".ia3_" not in n]
    known = model.__dict__.get("ia3_digest")
    if known is None or known[0] != state:
        digest = hashlib.sha256()
        for tensor in weights(model):
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        known = model.__dict__["ia3_digest"] = (state, digest.hexdigest())
    return known[1]


def weights(model: nn.Module) -> Iterator[torch.Tensor]:
    """The base's parameters in module order, weight norm folded."""
    for _, module in model.named_modules():
        if isinstance(module, IA3Vector) or "parametrizations" in type(module).__module__.split("."):
            continue
        if type(module).__name__ in ("ParametrizationList", "_WeightNorm"):
            continue
        folded = getattr(module, "parametrizations", {})
        for name in folded:
            yield getattr(module, name)
        for name, parameter in module.named_parameters(recurse=False):
            if name != "masked_spec_embed":
                yield parameter


def same_base(recorded: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether two fingerprints are of one base. In another precision, architecture and sizes must do."""
    names = ["architecture", "layers", "hidden", "ffn", "vocabulary"]
    if recorded.get("dtype") == found.get("dtype"):
        names.append("sha256")
    return all(recorded.get(name) == found.get(name) for name in names)


def describe(record: dict[str, Any]) -> str:
    """One line for messages: `Wav2Vec2ForCTC, 4 layers of 384/1536, 29 symbols, weights 3f2a…`."""
    return (
        f"{record.get('architecture')}, {record.get('layers')} layers of {record.get('hidden')}/"
        f"{record.get('ffn')}, {record.get('vocabulary')} symbols, weights {str(record.get('sha256'))[:8]}"
    )


def read_json(path: Path) -> Any:
    """JSON of a file that a person may have touched. Raises BaseError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseError(f"{path}: {error}") from error
