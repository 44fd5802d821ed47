"""What the studies of egs/ share, as stages.sh has it for the recipes of a corpus: options, folders, jobs.

    study = Study(__file__, "orders", options)
    if study.runs(4):
        study.decode_and_score("base", None, study.data / "test")

path.sh puts this folder on PYTHONPATH. Long commands are jobs of $train_cmd, $decode_cmd and $score_cmd
(recipes/cmd.sh), each with its log in EXP/log. Finished work is skipped: the commands of ia3-speech and
`Study.once` record what they were made from.
"""

import fcntl
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import ia3_speech
from ia3_speech.adapters.record import read_json
from ia3_speech.common.atomic import write_json, write_text
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import Inputs, provenance
from ia3_speech.data.corpora.preparation import Size

RECIPES = Path(__file__).resolve().parents[1]
SHIPPED = Path(ia3_speech.__file__).parent / "out_of_domain/librispeech_dev"  # out-of-domain speech
# Kind of speech → its recipe, the name of the corpus there, and its test set
KINDS = {
    "accent": ("speechocean762", "speechocean762", "test_adults"),
    "orders": ("barista_orders", "barista_orders", "test"),
    "telephone": ("minds14", "minds14", "test"),
    "notes": ("medical_dictation", "medical_notes", "test"),
}
Word = str | Path | int | float


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options of every study."""

    base: str = "mini"
    """mini, a folder or a hub id"""
    seeds: int = 1
    """number of trainings of each kind, with seeds 1 to this number"""
    size: Size = "full"
    """small takes little data and few epochs, to see that everything works"""
    stage: int = 1
    """start at this stage"""
    stop_stage: int = 100
    """stop after this stage"""
    work_dir: Path | None = None
    """where data/ and exp/ go (default: the folder of the study)"""


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(StudyOptions):
    """Options of a study of one corpus."""

    corpus: Path | None = None
    """where the corpus is, in the layout that the README describes"""


@dataclass(frozen=True, kw_only=True)
class DecodingOptions(StudyOptions):
    """Options of a study that decodes as the recipes do."""

    nj: int = 1
    """number of jobs that share the decoding of a set"""
    precision: Literal["no", "bf16", "auto"] = "auto"
    """precision of the computations in decoding; auto: bf16 if it is faster on this machine"""
    retrain: bool = False
    """train again what was trained before the data changed"""
    out_of_domain: str = "shipped"
    """other speech to test on: 'DIR DIR:40' (Kaldi directories, or LibriSpeech's layout; each 40th
    utterance), shipped or none"""


@dataclass(frozen=True, kw_only=True)
class KindsOptions(DecodingOptions):
    """Options of a study of several kinds of speech."""

    accent_corpus: Path | None = None
    """speechocean762, as its recipe takes it"""
    orders_corpus: Path | None = None
    """the coffee orders, as the recipe barista_orders takes them"""
    telephone_corpus: Path | None = None
    """MInDS-14, as the recipe minds14 takes it"""
    notes_corpus: Path | None = None
    """clinical notes, as the recipe medical_dictation takes them"""
    general: str = ""
    """folders of other speech to test on, beside the shipped clips (Kaldi directories, or LibriSpeech's
    layout)"""

    @property
    def corpora(self) -> dict[str, Path]:
        """Kind of speech → its corpus, of the kinds for which one is given."""
        given = {kind: getattr(self, f"{kind}_corpus") for kind in KINDS}
        return {kind: corpus for kind, corpus in given.items() if corpus}


class Study:
    """Where the data directories and the results of a study are (`data` and `exp`, absolute), and how its
    stages run."""

    def __init__(self, script: str, corpus: str, options: StudyOptions):
        """Create EXP/log, and wait until no other run works in EXP. `corpus` names the folders
        below data/ and exp/."""
        if isinstance(options, CorpusOptions) and not options.corpus:
            raise UserError(Path(script).with_name("published.txt").read_text("utf-8").strip())
        for name, least in (("seeds", 1), ("stop_stage", options.stage)):
            if (value := getattr(options, name)) < least:
                raise UserError(f"`{name}` must be {least} or more, not {value}")
        self.corpus_name, self.options, self.small = corpus, options, options.size == "small"
        self.work = (options.work_dir or Path(script).resolve().parents[1]).absolute()
        name = corpus + "_small" * self.small
        self.data, self.exp = self.work / "data" / name, self.work / "exp" / name
        (self.exp / "log").mkdir(parents=True, exist_ok=True)
        self.lock = (self.exp / ".study.lock").open("a")
        os.set_inheritable(self.lock.fileno(), True)  # so jobs of a killed run hold it until they end
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run that is still at work in {self.exp}", flush=True)
            fcntl.flock(self.lock, fcntl.LOCK_EX)

    def runs(self, stage: int) -> bool:
        """Whether a stage is between --stage and --stop-stage."""
        return self.options.stage <= stage <= self.options.stop_stage

    def once(
        self, message: str, out: Path, sources: Sequence[Path], make: Callable[..., Any], **options: Any
    ) -> None:
        """Call `make(out=out, **options)`, unless it made `out` from these sources with these options."""
        print(message, flush=True)
        inputs = Inputs({str(path): path for path in sources}, options)
        if not inputs.is_current(out):
            make(out=out, **options)
            inputs.record(out)

    def job(
        self, kind: Literal["train", "decode", "score"], log: str, words: Sequence[Word], jobs: int = 0
    ) -> None:
        """Run a command as a job of $KIND_cmd; with `jobs`, for JOB from 1 to this number in its words and
        its log. Raises UserError where it fails; the end of its log was printed."""
        launcher = [*shlex.split(os.environ.get(f"{kind}_cmd", "run")), *[f"JOB=1:{jobs}"] * (jobs > 0)]
        file = self.exp / "log" / log.replace("/", "_")
        self.command([*launcher, file, *(quoted(str(word)) for word in words)])

    def recipe(self, name: str, corpus: Path, stop_stage: int, **options: Word) -> None:
        """Run stages of the recipe egs/NAME with the options of this study; what it has done is not done
        again."""
        given = {field.name: getattr(self.options, field.name) for field in fields(DecodingOptions)}
        given |= {"corpus": corpus.absolute(), "stop_stage": stop_stage} | options
        words = ["bash", RECIPES.parent / "egs" / name / "run.sh"]
        for flag, value in given.items():
            text = str(value).lower() if isinstance(value, bool) else str(value or "")
            words += [f"--{flag.replace('_', '-')}", text]
        print(f"stages {given['stage']} to {stop_stage} of the recipe {name}", flush=True)
        self.command(words)

    def command(self, words: Sequence[Word]) -> None:
        """Run a command; jobs and this process's lock are its own too. Raises UserError where it fails."""
        line = [*map(str, words)]
        if subprocess.run(line, cwd=RECIPES, close_fds=False, check=False).returncode:
            raise UserError(f"{shlex.join(line[:6])} … failed (its messages are above)")

    def of_recipe(self, name: str, corpus_name: str = "") -> tuple[Path, Path]:
        """Where that recipe has the data directories and the results of its corpus."""
        work = (self.options.work_dir or RECIPES.parent / "egs" / name).absolute()
        folder = (corpus_name or name) + "_small" * self.small
        return work / "data" / folder, work / "exp" / folder

    def decode(self, out: Path, data: Path, *decode: Word) -> None:
        """Decode a set greedily and without a guard, with further options, into the folder `out` below EXP,
        in --nj parts."""
        options, log = self.options, "_".join(out.relative_to(self.exp).parts)
        words = python("decode", "--base", located(options.base), "--search", "greedy", "--guard", "off")
        words += ["--precision", options.precision, *decode, data, out]
        print(f"decode {data.name} with {out.parent.relative_to(self.exp)}", flush=True)
        if options.nj > 1:
            self.job("decode", f"{log}.JOB.log", [*words, "--part", f"JOB/{options.nj}"], options.nj)
        self.job("decode", f"{log}.log", words)

    def decode_and_score(
        self, system: str, seed: int | None, data: Path, *score: Word, decode: Sequence[Word] = (),
        out: Path | None = None, base: Path | None = None,
    ) -> None:  # fmt: skip
        """Decode a set into `out` (default: EXP/SYSTEM_seedN/decode_greedy_SET), and score it with further
        options against `base`, the base's decode directory (default: EXP/base/decode_greedy_SET)."""
        folder, name = f"{system}_seed{seed}" if seed else system, f"decode_greedy_{data.name}"
        out, base = out or self.exp / folder / name, base or self.exp / "base" / name
        self.decode(out, data, *decode)
        words = python("score", data, out, "--corpus", self.exp.name, "--system", system, *score)
        words += ["--system-seed", seed] if seed else []
        words += ["--baseline", base] if system != "base" else []
        words += ["--cluster", "speaker"] if data.name == "out_of_domain" else []
        self.job("score", f"score_{'_'.join(out.relative_to(self.exp).parts)}.log", words)

    def write_results(self, texts: Sequence[str], results: dict[str, Any], exp: Path | None = None) -> None:
        """Write EXP/RESULTS.md, and EXP/results.json, with the command that made them; print the first."""
        record, exp = provenance(), exp or self.exp
        line = f"`{record['command']}` (commit {record['commit']}{' with changes' * record['dirty']})\n"
        write_json(exp / "results.json", {"schema": 1} | results | record)
        write_text(exp / "RESULTS.md", text := "\n".join(filter(None, [*texts, line])))
        print(text, end="")


def located(word: str) -> str:
    """A path or a name of the command line: what exists becomes absolute, `shipped` the package's speech, and
    a name stays a name."""
    path, colon, step = word.partition(":")
    place = SHIPPED if path == "shipped" else Path(path).absolute() if Path(path).exists() else path
    return f"{place}{colon}{step}"


def python(command: str, *words: Word) -> list[Word]:
    """The words of `ia3-speech COMMAND`."""
    return ["python", "-m", "ia3_speech", command, *words]


def quoted(word: str) -> str:
    """A word as it stands in the line of a job, which a shell reads: run, like Kaldi's run.pl and queue.pl,
    quotes nothing but words with blanks. So a word that is not plain is written without blanks and signs, as
    $'a\\x20b'."""
    special = re.compile(r"[^\w./:=+,@%-]", re.ASCII)
    if word and not special.search(word):
        return word
    escaped = special.sub(lambda sign: "".join(rf"\x{byte:02x}" for byte in os.fsencode(sign[0])), word)
    return f"$'{escaped}'"


def median_seed(exp: Path, system: str, seeds: int) -> int:
    """The seed whose adapter in EXP/SYSTEM_seedN has the median dev WER (of an even number the lower middle
    one)."""
    wer = {
        seed: read_json(exp / f"{system}_seed{seed}/train.json").get("dev_wer", 0.0)
        for seed in range(1, seeds + 1)
    }
    return sorted(wer, key=wer.__getitem__)[(seeds - 1) // 2]
