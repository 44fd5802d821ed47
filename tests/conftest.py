"""Fixtures of many tests: bases, a registry for each test, commands in this process. The hub is offline."""

import io
import logging
import os
import runpy
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from ia3_speech.commands import COMMANDS
from ia3_speech.commands import run as run_named
from tests.egs.python_server import forking_python

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# Before torch and transformers are imported: no test may wait for a network, and each worker of pytest-xdist
# has a core of its own.
os.environ["HF_HUB_OFFLINE"] = os.environ["PIP_NO_INDEX"] = "1"
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Some tests send SIGINT, which is ignored if a script started pytest in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Some tests start Python: compiled modules halve the time of an import of Transformers.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A busy machine is no failure: an example of Hypothesis has no time limit.
settings.register_profile("ia3_speech", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ia3_speech")


# The longest files first, so that no worker waits long for another at the end.
FIRST = (
    "tests/serve/test_page.py",
    "tests/egs/test_medical_dictation.py",
    "tests/test_pages.py",
    "tests/onnx/",
    "tests/egs/",
    "tests/scripts/",
    "tests/serve/",
    "tests/commands/test_train.py",
    "tests/training/",
    "tests/model/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests; those of one file stay together and in their order."""
    items.sort(key=lambda item: [not item.nodeid.startswith(start) for start in FIRST])


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory, monkeypatch):
    """Adapters that a test registers stay in the test; on a slow machine its log is the same."""
    monkeypatch.setenv("IA3_SPEECH_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr("ia3_speech.common.progress.FIRST_LINE", 3600)


class Result(NamedTuple):
    """Exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def run_command() -> Callable[..., Result]:
    """A function that calls a command in this process, as `ia3-speech COMMAND …` would start it.

    `run_command("decode", "--base", base, data, out)` runs `commands/decode.py`; a Path runs that script.
    Words may be paths or numbers. `stdin` is the text, or the bytes, that are piped in. Exceptions that would
    end with a traceback are raised.
    """

    def run(module: str | Path, *words: object, stdin: str | bytes = "") -> Result:
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        code = 0
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), own_logging():
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            patch.setattr(sys, "argv", [f"ia3-speech {module}", *map(str, words)])
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    if isinstance(module, Path):
                        patch.setattr(sys, "argv", [str(module), *map(str, words)])
                        runpy.run_path(str(module), run_name="__main__")
                    elif module in COMMANDS:
                        run_named(module, [*map(str, words)])
                    else:
                        runpy.run_module(f"ia3_speech.{module}", run_name="__main__")
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else int(end.code is not None)
                    if isinstance(end.code, str):
                        print(end.code, file=err)
        return Result(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))

    return run


@pytest.fixture(scope="session")
def forking_path(tmp_path_factory) -> Iterator[str]:
    """PATH with this Python and `ia3-speech`, which start in a moment."""
    with forking_python(tmp_path_factory.mktemp("python")) as folder:
        yield f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"


@contextmanager
def own_logging():
    """Remove pytest's handlers of logging within the context, as when Python starts."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture(scope="session")
def base_folder() -> Path:
    """The shipped base, mini."""
    return ROOT / "ia3_speech/mini"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """../shared/data, real human speech."""
    if not (SHARED / "data").is_dir():
        pytest.skip("../shared/data is absent")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiny_model():
    """A function that makes a small random CTC model: kind, pre-LN or post-LN, group or layer norm."""

    def make(kind: str = "wav2vec2", *, stable: bool = False, norm: str = "group", seed: int = 0, **options):
        import torch
        from tiny_models import WAVES
        from transformers import AutoConfig, AutoModelForCTC

        from ia3_speech.model.architectures import ARCHITECTURES

        assert kind in ARCHITECTURES
        sizes = WAVES | {"num_hidden_layers": 3, "mask_time_length": 10}
        if kind == "data2vec-audio":
            sizes |= {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 9}
        else:
            sizes |= {"do_stable_layer_norm": stable, "feat_extract_norm": norm}
        torch.manual_seed(seed)
        config = AutoConfig.for_model(kind, **(sizes | options))
        return AutoModelForCTC.from_config(config).eval()

    return make


@pytest.fixture(scope="session")
def processor(tmp_path_factory):
    """Wav2Vec2Processor with the 29 characters of the mini base."""
    import json

    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    vocabulary = tmp_path_factory.mktemp("vocabulary") / "vocab.json"
    characters = ["<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary.write_text(json.dumps({c: i for i, c in enumerate(characters)}))
    tokenizer = Wav2Vec2CTCTokenizer(
        str(vocabulary), unk_token="<pad>", pad_token="<pad>", word_delimiter_token="|", bos_token=None,
        eos_token=None,
    )  # fmt: skip
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


@pytest.fixture
def tiny_base(tiny_model, processor):
    """A function like `tiny_model` that makes a `Base`."""
    from ia3_speech.model.base import make_base

    return lambda kind="wav2vec2", **options: make_base(tiny_model(kind, **options), processor, "tiny")


@pytest.fixture(scope="session")
def save_base(tiny_model, processor) -> Callable[..., Path]:
    """A function like `tiny_model` that writes a base into a folder, the first argument.

    `sharpness` multiplies the logits: sharp posteriors, as of a trained base, make beam search ten times as
    fast. `delimiter` is added to the logit of the word delimiter.
    """
    import torch

    def save(folder: Path, *kind: str, sharpness: float = 1.0, delimiter: float = 0.0, **options) -> Path:
        model = tiny_model(*kind, **options)
        with torch.no_grad():
            model.lm_head.weight.mul_(sharpness)
            model.lm_head.bias[1] += delimiter
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def random_base(save_base, tmp_path_factory) -> Path:
    """A small random base on disk, which no test changes; for tests that work with any weights."""
    return save_base(tmp_path_factory.mktemp("random_base"), sharpness=50)


@pytest.fixture
def tiny_folder(random_base, tmp_path_factory) -> Path:
    """A copy of `random_base` in a new folder, which a test may change."""
    return shutil.copytree(random_base, tmp_path_factory.mktemp("tiny_base"), dirs_exist_ok=True)


@pytest.fixture
def speaker42(tiny_folder) -> Path:
    """The folder of an adapter for `tiny_folder` that changes its texts, registered as speaker42."""
    from tiny_models import random_adapter

    from ia3_speech.adapters import registry

    return registry.register(random_adapter(tiny_folder, tiny_folder.parent / "adapter", 42), "speaker42")


@pytest.fixture
def few_samples(monkeypatch) -> None:
    """The texts of a Whisper of random weights are sampled once, and a guard is fitted to a few."""
    monkeypatch.setattr("ia3_speech.model.kinds.whisper.TEMPERATURES", (0.5,))
    monkeypatch.setattr("ia3_speech.routing.guard.MAX_UTTERANCES", 4)


@pytest.fixture
def enough_speech(monkeypatch) -> None:
    """Corpora of a few seconds are split like those of more than five minutes."""
    from ia3_speech.data.corpora import preparation

    monkeypatch.setattr(preparation, "FEW_SECONDS", 0.0)
