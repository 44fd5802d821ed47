"""The options of training: the flags of `train`, the keys of its YAML files, and their allowed values.

In: YAML, flags, or keyword arguments. Out: `TrainingOptions`. `speakers` and `self-train` extend
`SharedOptions`. The description of an attribute is its help.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from ia3_speech.adapters.record import PLACED
from ia3_speech.adapters.spec import AdapterSpec, parse_sum, tensor_files_of
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.inputs import Inputs
from ia3_speech.data.recordings import Part
from ia3_speech.model.location import GENERAL_SPEECH, base_files, base_folder

PLACEMENTS = ("key", "value", "ffn")  # by default
# Option → whether a value is allowed, and which values are
LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (lambda value: value >= 0, "0 or more"),
    "warmup": (lambda value: 0 <= value < 1, "0 or more, and below 1"),
    "language": (lambda value: value != "auto", "a code such as en"),
    "min_confidence": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "folds": (lambda value: value == 0 or value >= 2, "at least 2, or 0 to test nothing"),
    "k": (lambda value: value is None or value >= 2, "at least 2"),
}
COUNTS = ("epochs", "rounds", "patience", "batch_utterances", "adapters_per_batch", "checkpoint_steps")
RATES = ("learning_rate", "head_learning_rate", "clip", "batch_seconds")
WEIGHTS = ("replay_weight", "epoch_minutes", "decay_to_one", "trust_region")
LIMITS |= dict.fromkeys(COUNTS, (lambda value: value >= 1, "at least 1"))
LIMITS |= dict.fromkeys(RATES, (lambda value: 0 < value < math.inf, "above 0, and finite"))
LIMITS |= dict.fromkeys(WEIGHTS, (lambda value: 0 <= value < math.inf, "0 or more, and finite"))


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """Options that all trainings share.

    Attributes:
        base: mini, a folder, or a hub id
        init_adapter: start from this adapter (name, folder or sum), with its placements, instead of from the
            base; in cross-validation (`speakers`, `train` without dev) a fold starts from it only if its loss
            on the other folds is clearly below the base's
        placements: modules that get vectors, such as key value; there are key, value, ffn, ffn_output,
            attention_output, and conv (not if several adapters are trained side by side); in a decoder
            decoder_key (and so on), cross_key, cross_value, cross_attention_output
        layers: all, or 0-based inclusive ranges: 0-11, or 0,4-7
        epochs: epochs, at most
        learning_rate: peak rate of AdamW; IA³ needs 1e-3 to 5e-2, rates that are usual for LoRA change
            nothing
        warmup: share of all steps in which the learning rate rises; afterwards it falls linearly to zero
        clip: largest norm of an adapter's gradient; larger gradients are scaled down
        speeds: factors of speed perturbation, such as 0.9 1 1.1; each epoch draws a factor for each utterance
        noise: folder of audio files; each epoch mixes a piece of a file into each training utterance
        noise_snr: lowest and highest signal-to-noise ratio in dB, between which each mixture's is drawn, with
            noise
        reverb: folder of room impulse responses; each epoch convolves each training utterance with a response
        spec_augment: base: masks as in the base's configuration; off: no masks
        window: of a Whisper base's input: short, the utterance and a second of silence; or 30s, as Whisper
            was trained (seven times slower for short utterances); the adapter records it
        language: of the texts, for a multilingual Whisper base; the adapter records it
        targets: base: a Whisper base learns to write texts in one case with a capital and a full stop; asis:
            texts as they are, and of other bases, normalised as `normalize` says
        dropout: base: rates as in the base's configuration; off: 0, with which a base with dropout trains
            faster
        replay: data directory of other speech, without transcripts, on which each step penalises divergence
            from the base, so that the adapted model forgets less; shipped: ten minutes of 28 readers, which
            come with the package; none: no replay
        replay_weight: weight of this divergence, in nats per frame, beside the loss
        seed: seed of order, speeds, noises, masks and dropout
        normalize: text normalisation of the targets, and of references and hypotheses on dev
        drop_chars: leave out characters that the base can't write, instead of stopping
        on_error: fail stops at bad audio or text that is too long; skip leaves it out of training and names
            it
        allow_pipes: run shell commands in wav.scp
        batch_utterances: utterances per adapter in a step of `speakers`, and of `train` without dev
        adapters_per_batch: number of adapters that `speakers`, and `train` without dev, train side by side;
            it changes results by rounding only, on a CPU not at all
        cache_gb: gigabytes of memory for the features that the frozen part of the base computes; 0: no cache
        cache_dir: folder for the features that do not fit into this memory, which later runs use again (0.4
            GB per hour of audio at each speed; delete it when you like); without it, each epoch computes them
        precision: bf16: mixed precision; no: none; auto: bf16 if it is faster on this processor or GPU
        device: a torch device (default: CUDA where there is one)
        force: delete what `out` holds, and train again
    """

    # A resumed run may have other values: they do not change the adapter, or their contents are compared.
    NOT_COMPARED: ClassVar[set[str]] = {
        "init_adapter", "out", "replay", "noise", "reverb", "adapters_per_batch", "cache_gb", "cache_dir",
        "device", "force",
    }  # fmt: skip

    base: str = "mini"
    init_adapter: str | None = None
    placements: list[str] = field(default_factory=lambda: [*PLACEMENTS])
    layers: str = "all"
    epochs: int = 8
    learning_rate: float = 1e-2
    warmup: float = 0.06
    clip: float = 1.0
    speeds: list[float] = field(default_factory=lambda: [0.9, 1.0, 1.1])
    noise: Path | None = None
    noise_snr: str = "5,20"
    reverb: Path | None = None
    spec_augment: Literal["base", "off"] = "base"
    dropout: Literal["base", "off"] = "base"
    window: Literal["short", "30s"] = "short"
    language: str = "en"
    targets: Literal["base", "asis"] = "base"
    replay: str | None = None
    replay_weight: float = 0.6
    seed: int = 0
    normalize: Literal["ctc", "english", "none"] = "ctc"
    drop_chars: bool = False
    on_error: Literal["fail", "skip"] = "fail"
    allow_pipes: bool = False
    batch_utterances: int = 4
    adapters_per_batch: int = 8
    cache_gb: float = 4.0
    cache_dir: Path | None = None
    precision: Literal["no", "bf16", "auto"] = "no"
    device: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.replay == "none":
            object.__setattr__(self, "replay", None)

    def faults(self) -> dict[str, str]:
        """Option with a wrong value → which values are allowed."""
        limits = {name: limit for name, limit in LIMITS.items() if hasattr(self, name)}
        wrong = {name: text for name, (allows, text) in limits.items() if not allows(getattr(self, name))}
        if not self.speeds or not all(0.5 <= speed <= 2 for speed in self.speeds):
            wrong["speeds"] = "one or more, each from 0.5 to 2"
        if self.snr_range is None:
            wrong["noise_snr"] = "two numbers such as 5,20, the lower one first"
        return wrong

    @property
    def snr_range(self) -> tuple[float, float] | None:
        """Lowest and highest signal-to-noise ratio in dB; None where `noise_snr` holds something else."""
        try:
            low, high = map(float, self.noise_snr.split(","))
        except ValueError:
            return None
        return (low, high) if -math.inf < low <= high < math.inf else None


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(SharedOptions):
    """Options of `ia3-speech train`.

    Attributes:
        train: data directory to train on
        dev: data directory whose WER decides when to stop and which epoch is selected; without it
            cross-validation on train decides, which a few minutes of speech need
            (training/cross_validation.py)
        out: experiment folder; an interrupted run in it is resumed
        method: ia3; PEFT's lora, dora or vera (on the modules of placements: any of those above, query,
            ffn_inner); PEFT's ln_tuning; peft:FILE, a YAML or JSON file with any PEFT configuration; or
            FILE.py:NAME, a function of your own (docs/architecture.md), with which decode and transcribe take
            the adapter
        method_options: options of the method: fields of PEFT's configuration such as '{"r": 4, "lora_alpha":
            8}', or further arguments of your function
        train_head: train the CTC head too
        head_learning_rate: peak learning rate of the head, with train_head
        epoch_minutes: repeat a smaller training set within an epoch until it is at least this many minutes
            long
        patience: stop after this many epochs in a row without a better dev WER
        decay_to_one: weight decay of a vector l towards 1: each step reduces l − 1 (not l) by learning rate ×
            decay_to_one
        trust_region: largest distance of a vector's elements from 1; 0: no limit
        batch_seconds: padded seconds of audio in a batch
        checkpoint_steps: steps between checkpoints; there is always one at the end of an epoch
        log_to: where loss, learning rate and dev WER go too: tensorboard, below `out`; or wandb
        dtype: type of the frozen base: float32, or int8 on a CPU, which takes a quarter of the encoder's
            memory
        labels: labels that say what the adapter is for, such as '{"speaker": "042", "domain": "medical"}'
    """

    NOT_COMPARED = SharedOptions.NOT_COMPARED | {"train", "dev", "checkpoint_steps", "log_to", "labels"}

    train: Path
    dev: Path | None = None
    out: Path
    method: str = "ia3"
    method_options: dict[str, Any] = field(default_factory=dict)
    train_head: bool = False
    head_learning_rate: float = 1e-4
    epoch_minutes: float = 0.0
    patience: int = 3
    decay_to_one: float = 0.0
    trust_region: float = 0.0
    batch_seconds: float = 40.0
    checkpoint_steps: int = 100
    log_to: Literal["tensorboard", "wandb"] | None = None
    dtype: Literal["float32", "int8"] = "float32"
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "labels", {name: str(label) for name, label in self.labels.items()})

    def faults(self) -> dict[str, str]:
        ia3_only = {"train_head": False, "decay_to_one": 0, "dtype": "float32", "trust_region": 0}
        neutral: dict[str, Any] = {"method_options": {}}
        if self.method != "ia3":
            neutral = {"init_adapter": None} | ia3_only
            names_modules = "target_modules" in method_config(self)["options"]
            if names_modules:
                neutral["layers"] = "all"
            if names_modules or not self.method.partition(":")[0].endswith((*PLACED, ".py")):
                neutral["placements"] = [*PLACEMENTS]
        if self.dev is None:  # cross-validation has no other options
            neutral |= {"method": "ia3", "epoch_minutes": 0, "log_to": None} | ia3_only
        reason = "without `dev`" if self.dev is None else f"with `method={self.method}`"
        wrong = super().faults()
        wrong |= {
            name: f"{v or 'left out'} {reason}" for name, v in neutral.items() if getattr(self, name) != v
        }
        if self.dev is None and "conv" in self.placements:
            wrong["placements"] = "without conv, since `dev` is not given"
        return wrong


@dataclass(frozen=True, kw_only=True)
class SelfTrainingOptions(SharedOptions):
    """Self-training

    Attributes:
        data: recordings: a data directory, whose text is not read, or a folder with audio at any depth
        out: experiment folder; an interrupted run in it is resumed
        teacher_base: base that recognises the recordings: mini, a folder or a hub id (default: the base that
            teacher_adapter records, else `base`)
        teacher_adapter: adapter with which it does, which may be of another base than `base` (default:
            init_adapter, if there is no teacher_base)
        rounds: largest number of rounds; each labels the recordings with the adapter of the previous one (a
            second round was no better on the dev set on which it was tried)
        min_confidence: smallest confidence of a word to learn from; the word must also be recognised at 0.9
            and 1.1 times the speed; 0: learn from all recognised words
    """

    NOT_COMPARED = SharedOptions.NOT_COMPARED | {"data"}

    data: Path
    out: Path
    teacher_base: str | None = None
    teacher_adapter: str | None = None
    rounds: int = 1
    min_confidence: float = 0.5
    replay: str | None = "shipped"
    placements: list[str] = field(
        default_factory=lambda: ["key", "value", "ffn", "ffn_output", "attention_output"]
    )
    learning_rate: float = 2e-2
    epochs: int = 4
    on_error: Literal["fail", "skip"] = "skip"
    precision: Literal["no", "bf16", "auto"] = "auto"

    def faults(self) -> dict[str, str]:
        data, out = self.data.resolve(), self.out.resolve()
        nested = data.is_relative_to(out) or out.is_relative_to(data)
        outside = "outside of `data`, and not around it (nothing is written beside recordings)"
        return super().faults() | ({"out": outside} if nested else {})


@dataclass(frozen=True, kw_only=True)
class SpeakerOptions(SharedOptions):
    """Options of `ia3-speech speakers`.

    Attributes:
        data: data directory; an adapter is trained for each of its speakers
        out: folder of the adapters
        decode_dir: folder for the hypotheses of all folds (default: decode, in the folder `out`)
        part: such as 3/8: adapt only to the third of eight shares of the speakers; a final run without part
            collects the results
        folds: parts into which a speaker's utterances are divided; 0: train on all utterances, decode nothing
        k: train on at most this many utterances of each speaker (default: all outside of the fold)
    """

    NOT_COMPARED = SharedOptions.NOT_COMPARED | {"data", "decode_dir", "part"}

    data: Path
    out: Path
    decode_dir: Path | None = None
    part: str | None = None
    folds: int = 0
    k: int | None = None
    learning_rate: float = 5e-3
    warmup: float = 0.1
    speeds: list[float] = field(default_factory=lambda: [1.0])
    spec_augment: Literal["base", "off"] = "off"

    def faults(self) -> dict[str, str]:
        Part.parse(self.part)
        without_conv = "without conv, which speakers side by side can't have (use ia3-speech train)"
        return super().faults() | ({"placements": without_conv} if "conv" in self.placements else {})


def check_options(options: SharedOptions) -> None:
    """Raises TrainingError for values that are not allowed, all of which it names."""
    if options.replay and not (replay_folder(options.replay) / "wav.scp").is_file():
        hint = "shipped, none, or a DIR"
        raise TrainingError(f"`replay={options.replay}`: no data directory with a wav.scp ({hint})")
    if faults := options.faults().items():
        wrong = (f"`{name}` is {getattr(options, name)}, and must be {text}" for name, text in faults)
        raise TrainingError("; ".join(wrong))
    log_to = getattr(options, "log_to", None)
    if log_to and not any(find_spec(log_to + end) for end in ("", "X")):  # tensorboardX
        raise TrainingError(f"`log_to={log_to}` needs its package (pip install {log_to})")


def method_config(options: TrainingOptions) -> dict[str, Any]:
    """The record of a method other than IA³: its name (NAME of FILE.py:NAME), placements, layers, options (of
    peft:FILE, those in the file). Raises TrainingError if the file is not a PEFT configuration."""
    import yaml

    name, _, file = options.method.partition(":")
    config = {"placements": options.placements, "layers": options.layers, "options": options.method_options}
    if name.endswith(".py"):
        return {"method": file} | config
    if not file:
        if name == "peft" and "peft_type" not in options.method_options:
            raise TrainingError("`method=peft` names no PEFT configuration (peft:FILE does, YAML or JSON)")
        return {"method": name} | config
    try:
        config["options"] = yaml.safe_load(Path(file).read_text("utf-8")) | config["options"]  # JSON is YAML
        config = {"method": f"{name}:{config['options']['peft_type'].lower()}"} | config
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise TrainingError(
            f"`method={options.method}` holds no PEFT configuration, such as peft_type: BOFT ({error})"
        ) from error
    if config["method"] == "peft:adalora" or config["options"].get("use_asa"):  # of AdaMSS
        raise TrainingError(
            f"`method={options.method}`: PEFT has to choose its ranks after each step, which this trainer "
            f"does not support (LORA and ADAMSS without use_asa train here)"
        )
    return config


def replay_folder(replay: str) -> Path:
    """The data directory that `replay` names."""
    return GENERAL_SPEECH if replay == "shipped" else Path(replay)


def plain_options(options: SharedOptions) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(options), default=str))


def to_yaml(options: SharedOptions) -> str:
    """The contents of config.yaml, which `--config` reads."""
    import yaml

    return yaml.safe_dump(plain_options(options), sort_keys=False, allow_unicode=True)


def comparable(options: SharedOptions) -> dict[str, Any]:
    """The options that decide the result. Folders are left out, since their contents are compared. Newer
    options without effect are left out too, so that an older adapter stays current."""
    without_effect = {"method": "ia3", "method_options": {}, "dropout": "base", "trust_region": 0.0}
    without_effect |= {"window": "short", "language": "en", "targets": "base"}
    without_effect |= {"teacher_base": None, "teacher_adapter": None}
    if not options.noise:
        without_effect["noise_snr"] = options.noise_snr
    compared = {
        name: value
        for name, value in plain_options(options).items()
        if name not in options.NOT_COMPARED and (name, value) not in without_effect.items()
    }
    if "method" in compared:
        compared["method"] = method_config(options)
        if (file := Path(options.method.partition(":")[0])).suffix == ".py":
            compared["method"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    if not options.replay:
        compared.pop("replay_weight", None)
    if base_folder(options.base):
        del compared["base"]
    return compared


def training_inputs(options: SharedOptions, data: dict[str, Path], **more: Any) -> Inputs:
    """The inputs that decide an adapter: data directories by name, base, start, options, and `more`. Raises
    UnknownAdapter where there is no such `init_adapter`."""
    spec = parse_sum(options.init_adapter) if options.init_adapter else AdapterSpec()
    folders = {"noise": options.noise, "reverb": options.reverb}
    folders["replay"] = replay_folder(options.replay) if options.replay else None
    return Inputs(
        data
        | {name: folder for name, folder in folders.items() if folder}
        | {"base": base_files(options.base), "init_adapter": tensor_files_of(spec)},
        comparable(options) | {"init_weights": [term.weight for term in spec.terms]} | more,
    )
