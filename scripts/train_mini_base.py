"""Train the mini base: Whisper base's encoder in a plain `Wav2Vec2ForCTC`, fine-tuned with CTC on English.

    python ../shared/models/whisper_base.py exp/whisper-base  # where the hub can't be reached
    python scripts/mini_base_speech.py --data ../shared/data --cache exp/speech --aligner ia3_speech/mini
    python scripts/train_mini_base.py --data ../shared/data --cache exp/speech --whisper exp/whisper-base \
        --out exp/mini_base --minutes 120

What flows in: the recordings of `english_mix/` and `read_english/` (`mini_base_speech.py`),
`english_sentences.txt` (spoken on the fly by espeak-ng and flite), Whisper's encoder. What comes out, in
--out: `best/` (fp16 model.safetensors, processor files, model card: the base as it ships, to be copied to
ia3_speech/mini), `checkpoint.pt` (a run goes on from it), `log.jsonl`. A run is killed and started again at
will; `--init FOLDER` starts from an earlier result.

With --upper-layers the head and that many layers learn on hidden states that are computed once; a run without
it goes on from there with the whole encoder, with rates that fall from layer to layer downwards: what Whisper
knows of unheard voices lies there, and high rates forget it. Against
forgetting the weights also decay towards where they started (L2-SP, arXiv 1802.01483), and what is evaluated
and shipped is their running average.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from mini_base_speech import CHARACTERS, TrainingSpeech, dev_sets, read_cache, spell  # noqa: E402
from whisper_transplant import Sinusoid, sinusoid_of, transplant  # noqa: E402

from ia3_speech.atomic import replacing  # noqa: E402
from ia3_speech.cli import command  # noqa: E402
from ia3_speech.data.audio import SAMPLE_RATE  # noqa: E402
from ia3_speech.errors import UserError  # noqa: E402
from ia3_speech.model.precision import in_bfloat16  # noqa: E402
from ia3_speech.model.sharing import structural_copy  # noqa: E402

HISTORY = "training.json"  # beside the weights: every run that made them
UNTOLD = ("data", "cache", "whisper", "out", "init", "threads")  # paths, and what changes nothing
SHIPPED_MASKS = 0.05  # mask_time_prob of the shipped configuration
# Of the WER that chooses.
DEV_WEIGHTS = {"read_english_dev": 0.6, "english_mix_dev": 0.25, "espeak_dev": 0.15}
CARD = ROOT / "scripts/mini_base_card.md"


@dataclass
class Options:
    """Options of one run.

    Args:
        data: folder with english_sentences.txt
        cache: what mini_base_speech.py wrote
        whisper: Whisper encoder, a folder or a hub id
        out: where best/, checkpoint.pt and log.jsonl go
        upper_layers: train the head and this many upper layers alone (0: the head), on hidden states that are
            computed once and kept in --out
        cached_hours: hours of augmented speech of which they are kept
        minutes: length of the whole schedule, in minutes of training (all runs of one --out together)
        init: start from this folder (an earlier best/) instead of the transplant
        seed: governs data, masks, dropout and the head's start
        head_minutes: at first the head alone
        rate: learning rate of the top layer
        head_rate: learning rate of the head
        layer_decay: factor from a layer to the one below
        decay_to_start: strength of the decay towards the starting weights
        batch_seconds: padded seconds of a batch
        dropout: on hidden states and activations, in training only
        masks: mask_time_prob, until 85 % of the schedule; then what ships
        pieces: share of clips heard in pieces, a few words of one or two
        evaluate_minutes: minutes between evaluations on dev
        head_layers: gated convolutions between the encoder and the output layer
        threads: CPU threads
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
    decay_to_start: float = 0.2
    batch_seconds: float = 48.0
    dropout: float = 0.1
    masks: float = 0.15
    pieces: float = 0.4
    evaluate_minutes: float = 8.0
    head_layers: int = 2
    threads: int = 2
    bf16: bool = False


def processor():
    """29 entries: <pad> is the blank and 0, |, ', a–z; nothing special above, no bos, no eos."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps({c: i for i, c in enumerate(CHARACTERS)}))
        marks = {"unk_token": "<pad>", "pad_token": "<pad>", "bos_token": None, "eos_token": None}
        tokenizer = Wav2Vec2CTCTokenizer(
            str(vocabulary), word_delimiter_token="|", do_lower_case=True, **marks
        )
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


def groups(model, options: Options) -> list[dict]:
    """AdamW's groups: the head, then the layers from the top down."""
    body = model.wav2vec2
    layers = [*reversed(body.encoder.layers)][: options.upper_layers]
    head = [*body.adapter.parameters(), *model.lm_head.parameters()]
    found = [{"params": head, "peak": options.head_rate, "name": "head"}]
    for depth, layer in enumerate(layers):
        parameters = [*layer.parameters(), *(body.encoder.layer_norm.parameters() if depth == 0 else [])]
        rate = options.rate * options.layer_decay**depth
        found.append({"params": parameters, "peak": rate, "name": f"-{depth}"})
    return found


def schedule(part: float) -> float:
    """Warm-up over 2 %, constant to 30 %, then a cosine to 2 % of the rate."""
    if part < 0.3:
        return min(1.0, part / 0.02)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (part - 0.3) / 0.7)))


def prefetched(batch_of: Callable[[int], Any], step: int) -> Iterator[Any]:
    """The batches of this step and all after it, each made while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(batch_of, step)
        while True:
            batch, step = coming.result(), step + 1
            coming = pool.submit(batch_of, step)
            yield batch


class UpperLayers:
    """The head and the upper layers of a model, and batches of what they are given: hidden states of
    augmented speech, computed once by the layers below and kept as files in `folder`."""

    def __init__(self, model, material: TrainingSpeech, folder: Path, layers: int, hours: float):
        self.model, self.folder = model, folder
        below = len(model.wav2vec2.encoder.layers) - layers
        self.layers = model.wav2vec2.encoder.layers[below:]
        folder.mkdir(exist_ok=True)
        kept = folder / "batches.json"
        if not kept.exists():
            self.compute(material, hours)
            kept.write_text(str(self.count))
        self.count = int(kept.read_text())

    @torch.no_grad()
    def compute(self, material: TrainingSpeech, hours: float) -> None:
        from safetensors.torch import save_file

        body = structural_copy(self.model).eval().wav2vec2
        encoder = body.encoder
        encoder.pos_conv_embed = Sinusoid(sinusoid_of(encoder.pos_conv_embed))
        encoder.forward = torch.autocast("cpu", torch.bfloat16)(encoder.forward)
        body.adapter = None
        if self.layers:  # what stands above the layers below them is not computed
            encoder.layers = encoder.layers[: -len(self.layers)]
            encoder.layer_norm = nn.Identity()
        heard, self.count, started = 0.0, 0, time.monotonic()
        for waves, lengths, labels in prefetched(material.batch, 50_000_000):
            if heard >= hours * 3600:
                break
            mask = torch.arange(waves.shape[1]) < lengths[:, None]
            hidden = body(waves, attention_mask=mask.long()).last_hidden_state
            frames = self.model._get_feat_extract_output_lengths(lengths, add_adapter=False)
            file = self.folder / f"{self.count}.safetensors"
            state = {"hidden": hidden.bfloat16(), "frames": frames, "labels": labels, "samples": lengths}
            save_file({k: v.contiguous() for k, v in state.items()}, file)
            heard += float(lengths.sum()) / SAMPLE_RATE
            self.count += 1
            if self.count % 200 == 0:
                print(f"{heard / 3600:.1f} h kept in {time.monotonic() - started:.0f} s", flush=True)

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """In another order every time through."""
        from safetensors.torch import load_file

        order = np.random.default_rng(step // self.count).permutation(self.count)
        return load_file(self.folder / f"{order[step % self.count]}.safetensors")

    def loss(self, batch: dict[str, torch.Tensor], masks: float) -> torch.Tensor:
        from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

        model, hidden = self.model, batch["hidden"]
        mask = torch.arange(hidden.shape[1]) < batch["frames"][:, None]
        if masks:
            hidden = hidden.clone()
            span = model.config.mask_time_length
            hidden[torch.from_numpy(_compute_mask_indices(mask.shape, masks, span, mask.long(), 2))] = 0
        with torch.autocast("cpu", torch.bfloat16):
            for layer in self.layers:
                hidden = layer(hidden, attention_mask=torch.where(mask, 0.0, -1e4)[:, None, None].bfloat16())
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            if self.layers:
                hidden = model.wav2vec2.encoder.layer_norm(hidden)
            hidden = model.wav2vec2.adapter(hidden)
            logits = model.lm_head(model.dropout(hidden)).float()
        labels = batch["labels"]
        lengths = model._get_feat_extract_output_lengths(batch["samples"])
        return nn.functional.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1),
            labels.masked_select(labels >= 0),
            lengths,
            (labels >= 0).sum(1),
            blank=0,
            reduction=model.config.ctc_loss_reduction,
            zero_infinity=True,
        )


class Trainer:
    def __init__(self, model, material: TrainingSpeech, devs: dict, options: Options):
        self.upper = None
        if options.upper_layers is not None:
            folder = options.out / "hidden"
            self.upper = UpperLayers(model, material, folder, options.upper_layers, options.cached_hours)
        self.model, self.material, self.devs, self.options = model, material, devs, options
        self.groups = groups(model, options)
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
        self.low_precision = [model.wav2vec2.encoder, model.wav2vec2.adapter]
        self.forwards = [module.forward for module in self.low_precision]
        self.sinusoid = Sinusoid(sinusoid_of(self.positions))
        self.step, self.elapsed, self.best, self.audio = 0, 0.0, float("inf"), 0.0
        self.losses: list[float] = []

    def run(self) -> None:
        evaluated, end = self.elapsed, self.options.minutes * 60
        batches = prefetched(self.upper.batch if self.upper else self.material.batch, self.step)
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
        np.random.seed((options.seed * 1_000_003 + self.step) % 2**32)  # transformers' masks draw from here
        torch.manual_seed(options.seed * 1_000_003 + self.step)
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
        if self.upper:
            lengths = batch["samples"]
            loss = self.upper.loss(batch, model.config.mask_time_prob)
        else:
            waves, lengths, labels = batch
            mask = torch.arange(waves.shape[1]) < lengths[:, None]
            loss = model(waves, attention_mask=mask.long(), labels=labels).loss
        if not torch.isfinite(loss):
            raise UserError(f"step {self.step}: the loss is {loss.item()}; the last checkpoint stands")
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.parameters if p.grad is not None], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            origins = iter(self.start)
            for group in self.optimizer.param_groups:
                decay = 0.0 if group["name"] == "head" else group["lr"] * options.decay_to_start
                for p in group["params"]:
                    p.lerp_(next(origins), decay)
            torch._foreach_lerp_(self.average, self.parameters, max(1e-3, 1 / (1 + self.step / 10)))
        self.losses.append(float(loss.detach()))
        self.audio += float(lengths.sum()) / SAMPLE_RATE

    def mode(self, training: bool) -> None:
        """The positions cost nothing, and in training with --bf16 the encoder runs in bfloat16. What is below
        can't: the logarithm and the transparent norms' large constants need float32."""
        self.model.train(training)
        self.model.wav2vec2.encoder.pos_conv_embed = self.sinusoid
        for module, forward in zip(self.low_precision, self.forwards, strict=True):
            low = training and self.options.bf16 and not self.upper
            module.forward = partial(in_bfloat16, forward, "cpu") if low else forward

    def evaluate(self) -> None:
        """Score the averaged weights, rounded to fp16 as they ship, on dev; save the best; checkpoint."""
        held = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, mean in zip(self.parameters, self.average, strict=True):
                p.copy_(mean.half())
        self.mode(training=False)
        started = time.monotonic()
        scores = {name: word_errors(self.model, items) for name, items in self.devs.items()}
        dev = float(sum(DEV_WEIGHTS[name] * s["wer"] for name, s in scores.items()))
        row = {
            "step": self.step,
            "minutes": round(self.elapsed / 60, 1),
            "hours_heard": round(self.audio / 3600, 2),
            "loss": round(float(np.mean(self.losses[-100:])), 4) if self.losses else None,
            "dev": round(dev, 4),
            "best": round(min(dev, self.best), 4),
        }
        row["seconds_to_evaluate"] = round(time.monotonic() - started)
        row |= {f"{n}_{k}": round(v, 4) for n, s in scores.items() for k, v in s.items()}
        if dev < self.best:
            self.best = dev
            self.model.wav2vec2.encoder.pos_conv_embed = self.positions
            save(self.model, self.options.out / "best", history(self.options, row))
        with torch.no_grad():
            for p, mine in zip(self.parameters, held, strict=True):
                p.copy_(mine)
        print(json.dumps(row), flush=True)
        with (self.options.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        self.checkpoint()

    def checkpoint(self) -> None:
        state = {
            "parameters": [p.detach() for p in self.parameters],
            "average": self.average,
            "start": self.start,
            "optimizer": self.optimizer.state_dict(),
            "numbers": [self.step, self.elapsed, self.best, self.audio],
        }
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
        print(f"going on from step {self.step}, {self.elapsed / 60:.1f} minutes", flush=True)


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
    with replacing(folder) as new:
        new.mkdir()
        state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
        model.save_pretrained(new, state_dict=state)
        processor().save_pretrained(new)
        config = json.loads((new / "config.json").read_text())
        config |= {"dtype": "float32", "mask_time_prob": SHIPPED_MASKS}
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (new / HISTORY).write_text(json.dumps(runs, indent=2) + "\n")
        (new / "MODEL_CARD.md").write_text(card(runs), encoding="utf-8")


def history(options: Options, row: dict) -> list[dict]:
    """The runs that made the weights: those of --init, then this one as it stands."""
    before = runs_of(options.init)
    changed = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if field.name not in UNTOLD and value != field.default:
            flag = f"--{field.name.replace('_', '-')}"
            changed.append(flag if value is True else f"{flag} {value}")
    changed += [f"--init ROW_{len(before)}"] if options.init else []
    command = " ".join(["train_mini_base.py", *changed])
    return [*before, {"command": command, "seed": options.seed, **row}]


def runs_of(folder: Path | None) -> list[dict]:
    file = folder / HISTORY if folder else None
    return json.loads(file.read_text()) if file and file.exists() else []


def card(runs: list[dict]) -> str:
    """mini_base_card.md, filled with the runs and the last one's numbers."""
    line = "| `{command}` | {seed} | {hours:.1f} | {hours_heard:.1f} | {step:,} |"
    table = "\n".join(line.format(hours=run["minutes"] / 60, **run) for run in runs)
    return CARD.read_text(encoding="utf-8").format(table=table, **runs[-1])


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    clips, dev = read_cache(options.cache)
    sentences = [spell(line) for line in (options.data / "english_sentences.txt").read_text().splitlines()]
    kept = sentences[:: len(sentences) // 60][:60]  # dev sentences
    sentences = sorted(set(sentences) - set(kept))
    print(f"{len(clips)} clips, {sum(map(len, dev.values()))} of dev, {len(sentences)} sentences", flush=True)
    torch.manual_seed(options.seed)
    if options.init:
        from transformers import Wav2Vec2ForCTC

        model = Wav2Vec2ForCTC.from_pretrained(options.init, dtype=torch.float32)
    else:
        model = transplanted(options, clips)
    set_dropout(model, options.dropout)
    material = TrainingSpeech(clips, sentences, options.seed, options.batch_seconds, options.pieces)
    trainer = Trainer(model, material, dev_sets(dev, kept), options)
    trainer.resume()
    trainer.run()


def transplanted(options: Options, clips: list):
    """The constructed model; what is fitted in it is fitted on forty clips, the same for the same seed."""
    chosen = np.random.default_rng(options.seed).choice(len(clips), 40, replace=False)
    waves = [clips[i].normalized() for i in chosen]
    return transplant(options.whisper, waves, head_layers=options.head_layers)


class SharedDropout(nn.Module):
    """Dropout of whole channels, one draw for all frames of an utterance (variational, arXiv 1512.05287).

    Drawing a number for every element takes a third of a training step on a CPU; this takes nothing.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return x
        keep = torch.rand(x.shape[0], 1, x.shape[2]) >= self.p
        return x * (keep / (1 - self.p))


def set_dropout(model, p: float) -> None:
    """In the modules alone: the configuration that ships says 0, and these modules save nothing."""
    for layer in model.wav2vec2.encoder.layers:
        layer.dropout = layer.feed_forward.output_dropout = SharedDropout(p)
        layer.feed_forward.intermediate_dropout = SharedDropout(p)
    model.dropout = SharedDropout(p)


if __name__ == "__main__":
    command(main)
