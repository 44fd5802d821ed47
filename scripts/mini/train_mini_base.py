"""Train the mini base: Whisper base's encoder in a plain `Wav2Vec2ForCTC`, fine-tuned with CTC on English.

    python scripts/mini/mini_base_speech.py --data ../shared/data --cache exp/speech --aligner ia3_speech/mini
    python scripts/mini/train_mini_base.py --data ../shared/data --cache exp/speech --out exp/mini_base

In: the recordings that `mini_base_speech.py` wrote, sentences for espeak-ng and flite, Whisper's encoder.
Out, in --out: `best/` (the base as it ships, to be copied to ia3_speech/mini), `checkpoint.pt` (a killed run
resumes from it), `log.jsonl`. Learning rates fall from layer to layer downwards: high rates there make the
encoder forget other voices. The weights also decay towards where they started (L2-SP, arXiv 1802.01483), and
their running average is evaluated and shipped.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mini_base_speech import CHARACTERS, TrainingSpeech, dev_sets, read_cache, spell
from torch import nn
from whisper_transplant import Sinusoid, sinusoid_of, transplant

from ia3_speech.common.atomic import replacing
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.model.location import MINI
from ia3_speech.model.precision import in_bfloat16
from ia3_speech.model.sharing import structural_copy
from ia3_speech.training.steps import seed_step

HISTORY = "training.json"  # beside the weights: every run that made them
PATHS = ("data", "cache", "whisper", "out", "init")  # options that the model card leaves out
SHIPPED_MASKS = 0.05  # mask_time_prob of the shipped configuration
DECAY_TO_START = 0.2  # times the learning rate
PIECES = 0.4  # share of clips of which a few words are cut out
# Of the WER that selects
DEV_WEIGHTS = {"read_english_dev": 0.6, "english_mix_dev": 0.25, "espeak_dev": 0.15}
CARD = Path(__file__).with_name("mini_base_card.md")


@dataclass
class Options:
    """Options of one run.

    Args:
        data: folder with english_sentences.txt
        cache: folder that mini_base_speech.py wrote
        whisper: Whisper encoder, a folder or a hub id
        out: where best/, checkpoint.pt and log.jsonl go
        upper_layers: train only the head and this many upper layers, on hidden states that are computed once
            and stay in --out
        cached_hours: hours of augmented speech whose hidden states are kept
        minutes: of training in the whole schedule (all runs of one --out together)
        init: start from this folder (an earlier best/) instead of the transplant
        seed: governs data, masks, dropout and the head's start
        head_minutes: at the start, in which only the head trains
        rate: learning rate of the top layer
        head_rate: learning rate of the head
        layer_decay: factor from a layer to the one below
        batch_seconds: padded seconds of a batch
        dropout: on hidden states and activations, in training only
        masks: mask_time_prob, until 85 % of the schedule; then what ships
        evaluate_minutes: minutes between evaluations on dev
        bf16: the encoder in bfloat16 while it trains (its weights, all else, and dev stay in float32)
    """

    data: Path
    cache: Path
    out: Path
    whisper: str = "openai/whisper-base"
    upper_layers: int | None = None
    cached_hours: float = 30.0
    minutes: float = 120.0
    init: Path | None = None
    seed: int = 1
    head_minutes: float = 6.0
    rate: float = 2e-4
    head_rate: float = 1.5e-3
    layer_decay: float = 0.6
    batch_seconds: float = 48.0
    dropout: float = 0.1
    masks: float = 0.15
    evaluate_minutes: float = 8.0
    bf16: bool = False


class SharedDropout(nn.Dropout1d):
    """Dropout of whole channels, one draw for all frames of an utterance (variational, arXiv 1512.05287).
    A draw for every element takes a third of a training step on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def schedule(part: float) -> float:
    """Warm-up over 2 %, constant to 30 %, then a cosine to 2 % of the rate."""
    if part < 0.3:
        return min(1.0, part / 0.02)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (part - 0.3) / 0.7)))


def prefetched(batch_of: Callable[[int], Any], step: int) -> Iterator[Any]:
    """The batches from this step on; each is made while the batch before it is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(batch_of, step)
        while True:
            batch, step = coming.result(), step + 1
            coming = pool.submit(batch_of, step)
            yield batch


class UpperLayers:
    """The head and the upper layers of a model, and batches of their input: hidden states of augmented
    speech, which the layers below compute once, as files in `folder`."""

    def __init__(self, model, material: TrainingSpeech, folder: Path, layers: int, hours: float):
        self.model, self.folder = structural_copy(model), folder
        body = self.model.wav2vec2
        below = len(body.encoder.layers) - layers
        folder.mkdir(exist_ok=True)
        file = folder / "batches.json"
        if not file.exists():
            file.write_text(str(self.compute(model, material, hours, below)))
        self.count = int(file.read_text())
        body.feature_extractor.forward = lambda hidden: hidden.transpose(1, 2)
        body.feature_projection.forward = lambda hidden: (hidden, hidden)
        body.masked_spec_embed = nn.Parameter(torch.zeros_like(body.masked_spec_embed), requires_grad=False)
        body.encoder.layers = body.encoder.layers[below:]
        body.encoder.pos_conv_embed = nn.Module()
        body.encoder.pos_conv_embed.forward = torch.zeros_like

    @torch.no_grad()
    def compute(self, model, material: TrainingSpeech, hours: float, below: int) -> int:
        """Write the batches; returns their number."""
        from safetensors.torch import save_file

        body = structural_copy(model).eval().wav2vec2
        body.encoder.pos_conv_embed = Sinusoid(sinusoid_of(body.encoder.pos_conv_embed))
        body.encoder.forward = torch.autocast("cpu", torch.bfloat16)(body.encoder.forward)
        body.encoder.layers, body.encoder.layer_norm = body.encoder.layers[:below], nn.Identity()
        body.adapter = None
        seconds = 0.0
        for count, (waves, lengths, labels) in enumerate(prefetched(material.batch, 50_000_000)):
            if seconds >= hours * 3600:
                return count
            mask = torch.arange(waves.shape[1]) < lengths[:, None]
            hidden = body(waves, attention_mask=mask.long()).last_hidden_state.bfloat16()
            state = {"hidden": hidden.contiguous(), "lengths": lengths, "labels": labels.contiguous()}
            save_file(state, self.folder / f"{count}.safetensors")
            seconds += float(lengths.sum()) / SAMPLE_RATE

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The batch of a step; each epoch has another order."""
        from safetensors.torch import load_file

        order = np.random.default_rng(step // self.count).permutation(self.count)
        state = load_file(self.folder / f"{order[step % self.count]}.safetensors")
        return state["hidden"].float(), state["lengths"], state["labels"]


class Trainer:
    def __init__(self, model, material: TrainingSpeech, devs: dict, options: Options):
        self.model, self.devs, self.options = model, devs, options
        self.trained, self.batch_of = model, material.batch  # what trains, and its batches
        if options.upper_layers is not None:
            folder = options.out / "hidden"
            upper = UpperLayers(model, material, folder, options.upper_layers, options.cached_hours)
            self.trained, self.batch_of = upper.model, upper.batch
        body = model.wav2vec2
        head = [*body.adapter.parameters(), *model.lm_head.parameters()]
        self.groups = [{"params": head, "peak": options.head_rate, "name": "head"}]
        for depth, layer in enumerate([*reversed(body.encoder.layers)][: options.upper_layers]):
            parameters = [*layer.parameters(), *(body.encoder.layer_norm.parameters() if depth == 0 else [])]
            rate = options.rate * options.layer_decay**depth
            self.groups.append({"params": parameters, "peak": rate, "name": f"-{depth}"})
        self.parameters = [p for g in self.groups for p in g["params"]]
        model.requires_grad_(False)
        for p in self.parameters:
            p.requires_grad_(True)
        model.freeze_feature_encoder()
        self.optimizer = torch.optim.AdamW(
            self.groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )
        self.start = [p.detach().clone() for p in self.parameters]
        self.average = [p.detach().clone() for p in self.parameters]
        self.positions = model.wav2vec2.encoder.pos_conv_embed
        self.sinusoid = Sinusoid(sinusoid_of(self.positions))
        model.wav2vec2.encoder.pos_conv_embed = self.sinusoid
        body = self.trained.wav2vec2
        self.forwards = {module: module.forward for module in (body.encoder, body.adapter)}
        self.step, self.elapsed, self.best, self.audio = 0, 0.0, float("inf"), 0.0
        self.losses: list[float] = []

    def run(self) -> None:
        evaluated, end = self.elapsed, self.options.minutes * 60
        batches = prefetched(self.batch_of, self.step)
        while self.elapsed < end:
            tick = time.monotonic()
            self.train_step(next(batches))
            self.step += 1
            self.elapsed += time.monotonic() - tick
            if self.elapsed - evaluated > self.options.evaluate_minutes * 60 or self.elapsed >= end:
                evaluated = self.elapsed
                self.evaluate()

    def train_step(self, batch) -> None:
        options, model = self.options, self.model
        seed_step(options.seed, self.step)
        self.mode(training=True)
        rate = schedule(self.elapsed / (options.minutes * 60))
        frozen = self.elapsed < options.head_minutes * 60
        for group in self.optimizer.param_groups:
            alone = frozen and group["name"] != "head"
            group["lr"] = 0.0 if alone else group["peak"] * rate
            for p in group["params"]:
                p.requires_grad_(not alone)
        late = self.elapsed > 0.85 * options.minutes * 60
        model.config.mask_time_prob = SHIPPED_MASKS if late else options.masks
        features, lengths, labels = batch
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        loss = self.trained(features, attention_mask=mask.long(), labels=labels).loss
        if not torch.isfinite(loss):
            raise UserError(f"step {self.step}: the loss is {loss.item()}; the last checkpoint is unchanged")
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.parameters if p.grad is not None], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            origins = iter(self.start)
            for group in self.optimizer.param_groups:
                decay = 0.0 if group["name"] == "head" else group["lr"] * DECAY_TO_START
                for p in group["params"]:
                    p.lerp_(next(origins), decay)
            torch._foreach_lerp_(self.average, self.parameters, max(1e-3, 1 / (1 + self.step / 10)))
        self.losses.append(float(loss.detach()))
        self.audio += float(lengths.sum()) / SAMPLE_RATE

    def mode(self, training: bool) -> None:
        """In training with --bf16, run the encoder in bfloat16. The front end can't: its logarithm and large
        constants need float32."""
        self.model.train(training)  # not `trained` with --upper-layers, and evaluated
        self.trained.train(training)
        for module, forward in self.forwards.items():
            low = training and self.options.bf16
            module.forward = partial(in_bfloat16, forward, "cpu") if low else forward

    def evaluate(self) -> None:
        """Score the averaged weights, rounded to fp16 as they ship, on dev; save the best; checkpoint."""
        trained = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, mean in zip(self.parameters, self.average, strict=True):
                p.copy_(mean.half())
        self.mode(training=False)
        started = time.monotonic()
        scores = {name: word_errors(self.model, items) for name, items in self.devs.items()}
        dev = float(sum(DEV_WEIGHTS[name] * s["wer"] for name, s in scores.items()))
        row = {
            "step": self.step, "minutes": round(self.elapsed / 60, 1),
            "hours_heard": round(self.audio / 3600, 2), "loss": round(float(np.mean(self.losses[-100:])), 4),
            "dev": round(dev, 4), "best": round(min(dev, self.best), 4),
            "seconds_to_evaluate": round(time.monotonic() - started),
        }  # fmt: skip
        row |= {f"{n}_{k}": round(v, 4) for n, s in scores.items() for k, v in s.items()}
        if dev < self.best:
            self.best = dev
            self.model.wav2vec2.encoder.pos_conv_embed = self.positions
            save(self.model, self.options.out / "best", history(self.options, row))
            self.model.wav2vec2.encoder.pos_conv_embed = self.sinusoid
        with torch.no_grad():
            for p, mine in zip(self.parameters, trained, strict=True):
                p.copy_(mine)
        print(json.dumps(row), flush=True)
        with (self.options.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        state = {
            "parameters": [p.detach() for p in self.parameters], "average": self.average, "start": self.start,
            "optimizer": self.optimizer.state_dict(),
            "numbers": [self.step, self.elapsed, self.best, self.audio],
        }  # fmt: skip
        with replacing(self.options.out / "checkpoint.pt") as new:
            torch.save(state, new)

    def resume(self) -> None:
        file = self.options.out / "checkpoint.pt"
        if not file.exists():
            return
        state = torch.load(file, weights_only=True)
        with torch.no_grad():
            for mine, theirs in zip(self.parameters, state["parameters"], strict=True):
                mine.copy_(theirs)
        self.average, self.start = state["average"], state["start"]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, fresh in zip(self.optimizer.param_groups, self.groups, strict=True):
            group["peak"] = fresh["peak"]
        self.step, self.elapsed, self.best, self.audio = state["numbers"]
        print(f"resuming at step {self.step}, {self.elapsed / 60:.1f} minutes", flush=True)


@torch.no_grad()
def word_errors(model, items: list[tuple[np.ndarray, str]]) -> dict[str, float]:
    """Greedy WER and CER, pooled, one utterance at a time."""
    import jiwer

    hypotheses = []
    for wave, _ in items:
        ids = model(torch.from_numpy(wave)[None]).logits[0].argmax(-1)
        collapsed = torch.unique_consecutive(ids)
        hypotheses.append(" ".join("".join(CHARACTERS[i] for i in collapsed if i).replace("|", " ").split()))
    texts = [text for _, text in items]
    return {"wer": jiwer.wer(texts, hypotheses), "cer": jiwer.cer(texts, hypotheses)}


def save(model, folder: Path, runs: list[dict]) -> None:
    """fp16 on disk, float32 when loaded; the folder loads with transformers alone."""
    from transformers import Wav2Vec2Processor

    with replacing(folder) as new:
        new.mkdir()
        state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
        model.save_pretrained(new, state_dict=state)
        Wav2Vec2Processor.from_pretrained(MINI).save_pretrained(new)
        config = json.loads((new / "config.json").read_text())
        config |= {"dtype": "float32", "mask_time_prob": SHIPPED_MASKS}
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (new / HISTORY).write_text(json.dumps(runs, indent=2) + "\n")
        (new / "MODEL_CARD.md").write_text(card(runs), encoding="utf-8")


def history(options: Options, row: dict) -> list[dict]:
    """The runs that made the weights: those of --init, then this run so far."""
    file = options.init / HISTORY if options.init else None
    before = json.loads(file.read_text()) if file and file.exists() else []
    words = iter(sys.argv[1:])  # without paths
    flags = [word for word in words if not (word.lstrip("-") in PATHS and next(words, True))]
    flags += ["--init", f"ROW_{len(before)}"] if options.init else []
    return [*before, {"command": " ".join(["train_mini_base.py", *flags]), "seed": options.seed, **row}]


def card(runs: list[dict]) -> str:
    """mini_base_card.md, filled with the runs and the last one's numbers."""
    line = "| `{command}` | {seed} | {hours:.1f} | {hours_heard:.1f} | {step:,} |"
    table = "\n".join(line.format(hours=run["minutes"] / 60, **run) for run in runs)
    return CARD.read_text(encoding="utf-8").format(table=table, **runs[-1])


def main(options: Options) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    clips, dev = read_cache(options.cache)
    sentences = [spell(line) for line in (options.data / "english_sentences.txt").read_text().splitlines()]
    of_dev = sentences[:: len(sentences) // 60][:60]
    sentences = sorted(set(sentences) - set(of_dev))
    print(f"{len(clips)} clips, {sum(map(len, dev.values()))} of dev, {len(sentences)} sentences", flush=True)
    torch.manual_seed(options.seed)
    if options.init:
        from transformers import Wav2Vec2ForCTC

        model = Wav2Vec2ForCTC.from_pretrained(options.init, dtype=torch.float32)
    else:
        chosen = np.random.default_rng(options.seed).choice(len(clips), 40, replace=False)  # for the fit
        model = transplant(options.whisper, [clips[i].normalized() for i in chosen])
    for layer in model.wav2vec2.encoder.layers:  # the configuration that ships has 0
        layer.dropout = layer.feed_forward.output_dropout = SharedDropout(options.dropout)
        layer.feed_forward.intermediate_dropout = SharedDropout(options.dropout)
    model.dropout = SharedDropout(options.dropout)
    material = TrainingSpeech(clips, sentences, options.seed, options.batch_seconds, PIECES)
    trainer = Trainer(model, material, dev_sets(dev, of_dev), options)
    trainer.resume()
    trainer.run()


if __name__ == "__main__":
    command(main)
