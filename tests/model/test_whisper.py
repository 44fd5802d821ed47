"""Whisper as a base: a random model of two layers for the mechanics, and the real one where ../shared is."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus_files import sound_directory
from safetensors.torch import load_file
from tiny_models import attach_random, noise_waves, random_adapter, random_vectors, tiny_whisper
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

from ia3_speech import IA3Config, attach, detach, load, load_adapter, load_base, merge, save_adapter, unmerge
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.io import read_adapter
from ia3_speech.adapters.record import read_record
from ia3_speech.adapters.spec import BASE_ALONE, parse_sum, term_at
from ia3_speech.adapters.weights import count_by_placement, read_weights
from ia3_speech.common.errors import AdapterError, BaseError, UserError
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.model.attach import probe_input
from ia3_speech.model.base import make_base
from ia3_speech.model.hypotheses import search_rows
from ia3_speech.model.ia3 import attachment, using_rows, vectors
from ia3_speech.model.int8 import has_fast_int8
from ia3_speech.model.kinds.whisper import written
from ia3_speech.model.kinds.whisper_search import repetition
from ia3_speech.routing.gate import general_gate
from ia3_speech.session import Session
from ia3_speech.training.segmentation import segment_data_directory

SHARED = Path(__file__).parents[3] / "shared"
PLACEMENTS = ("key", "value", "ffn", "ffn_output", "attention_output")
DECODER = ("decoder_key", "decoder_value", "cross_key", "cross_value", "decoder_ffn")
DECODER += ("decoder_ffn_output", "decoder_attention_output", "cross_attention_output")
BOTH = ("--placements", "value", "cross_value", "decoder_ffn")
WAVES = noise_waves(1.0, 2.3, 0.4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, as the hub has it."""
    path = tmp_path_factory.mktemp("whisper")
    model, processor = tiny_whisper()
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


@pytest.fixture
def base(few_samples):
    return make_base(*tiny_whisper(), "tiny")


def close(found, wanted) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def examples(base) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    encoded, frames = base.forward([base.features(wave) for wave in WAVES])
    return encoded, frames, [base.vocabulary.encode(text) for text in ("Take her home.", "No.", "It is I.")]


def test_the_encoder_and_the_loss_are_those_of_transformers(base):
    """In 30-second windows, as published."""
    mel = base.processor.feature_extractor(WAVES, sampling_rate=16_000, return_tensors="pt").input_features
    encoded, frames, ids = examples(base)
    close(encoded, base.model.model.encoder(mel).last_hidden_state)
    for row, text in enumerate(ids):
        given = torch.tensor([[*base.prefix("en"), *text]])
        labels = torch.tensor([[*[-100] * (len(base.prefix("en")) - 1), *text, base.end]])
        wanted = base.model(input_features=mel[row : row + 1], decoder_input_ids=given, labels=labels).loss
        close(base.losses(encoded, frames, ids)[row], wanted)


@pytest.mark.parametrize("window", ["30s", "short"])
def test_a_row_equals_that_row_alone(base, window):
    base.window = window
    attach_random(base.model)
    together = base.logits(WAVES)
    texts = search_rows(base.greedy, together) if window == "short" else []
    _, frames, ids = examples(base)
    losses = base.losses(*examples(base))
    assert frames.tolist() == ([1500] * 3 if window == "30s" else [101, 166, 100])
    for number, wave in enumerate(WAVES):
        (alone,) = base.logits([wave])
        close(together[number], alone)
        assert not texts or search_rows(base.greedy, [alone]) == [texts[number]]
        encoded, frames = base.forward([base.features(wave)])
        close(base.losses(encoded, frames, [ids[number]])[0], losses[number])


def test_only_the_encoders_vectors_learn_and_each_has_an_effect(base):
    before = base.logits(WAVES)
    attach(base.model, IA3Config(PLACEMENTS, window="short"))  # raises where a vector has no effect
    assert all(name.startswith("model.encoder.layers.") for name in vectors(base.model))
    assert examples(base)[1].tolist() == [101, 166, 100]  # the adapter's window
    base.losses(*examples(base)).sum().backward()
    for name, vector in vectors(base.model).items():
        assert bool(vector.l.grad.any()), name
    assert not [name for name, p in base.model.named_parameters() if p.grad is not None and "ia3" not in name]
    detach(base.model)
    assert all(map(torch.equal, base.logits(WAVES), before))


def test_the_base_does_not_diverge_from_itself(base):
    base.window = "short"
    summaries = [base.summary(row) for row in base.logits(WAVES)]
    encoded, frames, _ = examples(base)
    assert float(base.divergence(encoded, frames, summaries).abs().max()) < 1e-5
    attach_random(base.model)
    encoded, frames, _ = examples(base)
    assert float(base.divergence(encoded, frames, summaries).min()) > 1e-4


def test_merged_equals_unmerged_and_comes_back(base):
    attach_random(base.model)
    before, weights = base.logits(WAVES), {n: p.clone() for n, p in base.model.named_parameters()}
    merge(base.model)
    for merged, unmerged in zip(base.logits(WAVES), before, strict=True):
        close(merged, unmerged)
    unmerge(base.model)
    assert all(torch.equal(p, weights[n]) for n, p in base.model.named_parameters())


def test_a_saved_adapter_is_peft_s_too(base, tmp_path):
    peft = pytest.importorskip("peft")
    attach_random(base.model, "key", "value", "ffn")
    save_adapter(base.model, tmp_path / "adapter", base=base)
    wanted = base.logits(WAVES)
    base = make_base(*tiny_whisper(), "tiny")
    load_adapter(base.model, tmp_path / "adapter")
    assert all(map(torch.equal, base.logits(WAVES), wanted))
    model, processor = tiny_whisper()
    wrapped = peft.PeftModel.from_pretrained(model, str(tmp_path / "adapter"))
    config = wrapped.peft_config["default"]
    assert len(config.target_modules) == 6 and all("encoder" in name for name in config.target_modules)
    mel = processor.feature_extractor(WAVES, sampling_rate=16_000, return_tensors="pt").input_features
    for found, each in zip(wrapped.model.model.encoder(mel).last_hidden_state, wanted, strict=True):
        close(found, each)


def test_a_bank_gives_each_row_its_adapter_and_its_window(base, tmp_path):
    for name, window in (("short", "short"), ("long", "30s")):
        attach(base.model, IA3Config(PLACEMENTS, window=window), check=False)
        random_vectors(base.model, len(name))
        save_adapter(base.model, tmp_path / name, base=base)
        detach(base.model)
    alone = []
    for name, wave in zip((None, "short", "long"), WAVES, strict=True):
        if name:
            load_adapter(base.model, tmp_path / name)
        alone += base.logits([wave])
        detach(base.model)
    bank = Bank(base)
    bank.add("short", tmp_path / "short")
    bank.add("long", tmp_path / "long")
    rows = bank.logits(WAVES, [None, "short", "long"])
    assert [len(row) for row in rows] == [1500, 166, 1500]
    for row, wanted in zip(rows, alone, strict=True):
        close(row, wanted)
    assert len(bank.logits(WAVES[1:2], ["short:0.5+long:0.5"])[0]) == 166  # a sum has the shortest window


@pytest.mark.parametrize("beam_size", [1, 4])
def test_texts_are_those_of_transformers_generate(base, beam_size):
    """Of the rows of a batch, with suppressed tokens and vectors; some end, others are cut off."""
    base.window, settings, decoder = "short", base.model.generation_config, base.model.model.decoder
    settings.suppress_tokens = [id for id in range(264) if id not in (*range(70, 90), base.end)]
    settings.begin_suppress_tokens = [71, base.end]
    attach_random(base.model, "key", *DECODER, low=0.3, high=1.5)
    found = []
    for scale in (1, 2):
        torch.manual_seed(0)  # a random decoder repeats a token, unless its embeddings are large and untied
        shapes = decoder.embed_tokens.weight.shape, decoder.embed_positions.weight.shape
        base.model.proj_out.weight = torch.nn.Parameter(torch.randn(shapes[0]))
        decoder.embed_tokens.weight = torch.nn.Parameter(scale * torch.randn(shapes[0]))
        decoder.embed_positions.weight = torch.nn.Parameter(2 * torch.randn(shapes[1]))
        search = base.own_search(beam_size, [])[0]
        rows = [base.to_device(row) for row in base.logits(noise_waves(1.0, 2.3, 0.4, 4.0, 3.1))]
        for row, (text, *_) in zip(rows, search.generate(rows), strict=True):
            wanted = GenerationMixin.generate(
                base.model,
                encoder_outputs=BaseModelOutput(row[None]),
                decoder_input_ids=torch.tensor([search.prompt_tokens]),
                max_length=len(search.prompt_tokens) + search.longest(row),
                num_beams=beam_size,
                stopping_criteria=[lambda ids, _: torch.tensor([repetition(r) > 0 for r in ids.tolist()])],
            )
            end = [base.end] * (len(text.scores) > len(text.ids))
            assert [*search.prompt_tokens, *text.ids, *end] == wanted[0].tolist()
            found.append((text.ids, bool(end)))
    assert {end for _, end in found} == {True, False} and len({*found}) > 4


@pytest.fixture
def adapters(base, tmp_path):
    """Folders of adapters: in the encoder alone, in the decoder alone, in both."""
    base.window = "short"
    for seed, (name, placements) in enumerate(
        {"encoder": PLACEMENTS, "decoder": DECODER, "both": PLACEMENTS + DECODER}.items()
    ):
        attach(base.model, IA3Config(placements, window="short"))
        random_vectors(base.model, seed, -2.0, 2.0)
        save_adapter(base.model, tmp_path / name, base=base)
        detach(base.model)
    return {name: tmp_path / name for name in ("encoder", "decoder", "both")}


@pytest.mark.skipif(not has_fast_int8(), reason="this processor has no VNNI instructions")
def test_in_int8_too_a_row_equals_that_row_alone(base, adapters):
    """And the vectors act beside the rounded weights."""
    exact = base.logits(WAVES[:1])[0]
    base.precision = "int8"
    rounded = base.logits(WAVES[:1])[0]
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.1
    bank = Bank(base)
    bank.add("both", adapters["both"])
    together = bank.logits(WAVES, ["both", None, "both"])
    texts = search_rows(base.greedy, together)
    for wave, name, row, text in zip(WAVES, ["both", None, "both"], together, texts, strict=True):
        (alone,) = bank.logits([wave], [name])
        close(row, alone)
        assert search_rows(base.greedy, [alone]) == [text]
    load_adapter(base.model, adapters["both"])
    assert search_rows(base.greedy, base.logits(WAVES[:1])) == texts[:1]


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("language", ["en", "auto"])
def test_a_row_of_a_bank_has_its_vectors_in_the_decoder_too(base, adapters, beam_size, language):
    """Greedy texts, beams, texts by sampling, the detected language, word times: as with it alone."""
    base.language = language

    def results(rows):
        search = base.own_search(beam_size, [])[0]
        texts = search_rows(search, rows)
        words = [base.timed(row, text, 1.0) for row, text in zip(rows, texts, strict=True)]
        return texts, words, search.again, [base.silence(base.to_device(row)) for row in rows]

    waves, names = [*WAVES, WAVES[0]], ["both", None, "decoder", "encoder"]
    alone = []
    for wave, name in zip(waves, names, strict=True):
        if name:
            load_adapter(base.model, adapters[name])
        alone.append(results(base.logits([wave])))
        detach(base.model)
    bank = Bank(base)
    for name, folder in adapters.items():
        bank.add(name, folder)
    rows = bank.logits(waves, names)
    for name in adapters:  # what was computed stays as it is
        bank.drop(name)
    texts, words, again, silences = results(rows)
    assert texts == [text for (text,), *_ in alone] and len({text.text for text in texts}) == 4
    assert sorted(again) == sorted(text for _, _, texts, _ in alone for text in texts) and again
    assert silences == pytest.approx([silence for *_, (silence,) in alone], rel=1e-3)
    for found, (_, (wanted,), *_) in zip(words, alone, strict=True):
        assert [word.text for word in found] == [word.text for word in wanted]
        assert [w.confidence for w in found] == pytest.approx([w.confidence for w in wanted], rel=1e-2)


def test_losses_have_the_rows_vectors_and_train_them(base, adapters):
    """As `speakers` and the folds train: rows with vectors of their own, in a batch."""
    wanted = []
    for number, name in enumerate(("both", "decoder")):
        load_adapter(base.model, adapters[name])
        encoded, frames = base.forward([base.features(WAVES[number])])
        wanted.append(base.losses(encoded, frames, [[1, 2, 3]]))
        detach(base.model)
    both = {name: read_adapter(base.model, term_at(name, adapters[name])) for name in ("both", "decoder")}
    attach(base.model, both["both"].config)
    stacked = {
        vector.l: torch.stack(
            [a.vectors.get(vector.target, torch.ones_like(vector.l)) for a in both.values()]
        )
        for vector in vectors(base.model).values()
    }
    rows = {parameter: values[:, None].requires_grad_() for parameter, values in stacked.items()}
    with using_rows(rows):
        encoded, frames = base.forward([base.features(wave) for wave in WAVES[:2]])
        losses = base.losses(encoded, frames, [[1, 2, 3]] * 2)
    close(losses, torch.cat(wanted))
    losses[0].backward()
    for parameter, values in rows.items():
        assert bool(values.grad[0].any()) and not bool(values.grad[1].any()), parameter


def test_decoder_vectors_merge_and_are_peft_s_too(base, tmp_path):
    peft = pytest.importorskip("peft")
    placements = ("key", "value", "ffn", *DECODER[:5])
    attach_random(base.model, *placements, low=-2, high=2)
    save_adapter(base.model, tmp_path / "ours", base=base)
    base.window = "short"
    (wanted,) = search_rows(base.greedy, base.logits(WAVES[:1]))
    merge(base.model)
    assert search_rows(base.greedy, base.logits(WAVES[:1])) == [wanted]
    config = json.loads((tmp_path / "ours/adapter_config.json").read_text())
    assert (config["target_modules"], config["feedforward_modules"]) == (["fc2", "k_proj", "v_proj"], ["fc2"])
    model, _ = tiny_whisper()
    wrapped = peft.PeftModel.from_pretrained(model, str(tmp_path / "ours"))
    probe = probe_input(model)
    merged = base.model(**probe).logits
    close(wrapped(**probe).logits, merged)
    wrapped.save_pretrained(str(tmp_path / "theirs"))
    load_adapter(base_model := tiny_whisper()[0], tmp_path / "theirs")
    close(base_model(**probe).logits, merged)
    assert attachment(base_model).config.placements == IA3Config(placements).placements
    counts = count_by_placement(read_weights(tmp_path / "theirs"))
    assert counts == count_by_placement(read_weights(tmp_path / "ours")) and counts.keys() == {*placements}
    with pytest.raises(AdapterError, match=r"decoder_key \(it has no decoder\)"):
        attach(load_base("mini").model, IA3Config(("decoder_key",)))


def test_texts_in_one_case_are_written_as_whisper_writes():
    assert written("TAKE HER HOME") == "Take her home."
    assert written("i think i'll stay in it") == "I think I'll stay in it."
    assert written("Dr. Who?") == "Dr. Who?" and written("") == ""


def test_a_text_that_does_not_fit_is_named(base):
    assert base.misfit([1] * 20, 16_000) is None
    assert base.misfit([1] * 500, 16_000) == "its text has 500 tokens, and the decoder writes 123"
    assert base.misfit([1], 500_000) == "its 31.25 s exceed the window of 30 s"


def test_repetition_is_found_at_the_end_alone():
    assert repetition([1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]) == 0
    assert repetition([7, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]) == 8
    assert repetition([5] * 12) == 11 and repetition([5] * 11) == 0 and repetition([]) == 0


def test_a_long_recording_is_cut_into_windows(folder):
    recognizer = load(folder, options=LoadOptions(vad="energy")).recognizer
    wave = np.tile(np.concatenate([*noise_waves(7.0), np.zeros(8_000, np.float32)]), 5)
    pieces = recognizer.cut(wave)
    assert len(pieces) >= 2 and all(0 < end - first <= 480_000 for first, end in pieces)
    assert pieces[-1][1] > 35 * 16_000


def test_a_batch_holds_240_seconds_of_input(base, few_samples, tmp_path):
    """A 30-second window counts whole, however short the audio is."""
    attach(base.model, IA3Config(PLACEMENTS, window="short"), check=False)
    save_adapter(base.model, tmp_path / "short", base=base)
    detach(base.model)
    session = Session(base)
    for spec, wanted in ((BASE_ALONE, [8, 2]), (parse_sum(str(tmp_path / "short")), [10])):
        recognizer, sizes = session.recognizer(spec), []

        def compute(waves, *rest, recognizer=recognizer, sizes=sizes):
            sizes.append(len(waves))
            return [row[:9] for row in recognizer.compute(waves, *rest)]  # short texts

        replace(recognizer, compute=compute, vad="off").texts(noise_waves(*[0.3] * 10))
        assert sizes == wanted


def test_the_language_is_checked_and_found_for_each_row(base):
    base.configure(language="de", window="short", task="translate")
    assert base.greedy.language == "de" and base.prefix() == (257, 259, 260, 263)
    for language in ("xx", "klingon"):
        with pytest.raises(UserError, match=f"`language={language}`: tiny knows auto, de, en"):
            base.configure(language=language)
    base.language, base.task = "auto", "transcribe"
    rows = base.logits(WAVES)
    search, record = base.own_search(1, ["metformin"])
    texts = search.many(rows)
    assert search.language == "auto" and record["prompt"] == "metformin."
    for row, text in zip(rows, texts, strict=True):
        assert text.prompt_tokens[-4:] == base.prefix(*base.spoken([row])) and text.prompt_tokens[0] == 262
        assert [text.language] == base.spoken([row])
        assert search.many([row]) == [text]
    base.model.generation_config.is_multilingual = False
    with pytest.raises(UserError, match=r"`language=de`: tiny only writes English"):
        base.configure(language="de")
    with pytest.raises(UserError, match="a CTC model has no choice of languages"):
        load_base("mini").configure(language="de")


def test_a_folder_without_generation_settings_or_tokenizer_is_refused(folder, tmp_path):
    assert load_base(folder).kind == "a Whisper model"
    model, processor = tiny_whisper()
    model.generation_config = type(model.generation_config)()
    with pytest.raises(BaseError, match="no generation settings of Whisper"):
        make_base(model, processor, "tiny")
    tiny_whisper()[0].save_pretrained(tmp_path)
    processor.feature_extractor.save_pretrained(tmp_path)  # transformers makes an empty tokenizer
    with pytest.raises(BaseError, match="no tokenizer of Whisper"):
        load_base(tmp_path)


def test_an_adapter_of_another_base_is_refused(base, tmp_path, folder):
    mini = load_base("mini")
    attach(mini.model, check=False)
    save_adapter(mini.model, tmp_path / "mini", base=mini)
    with pytest.raises(AdapterError, match="another base, mini"):
        load_adapter(base.model, tmp_path / "mini")
    model, processor = tiny_whisper(encoder_ffn_dim=40)
    larger = make_base(model, processor, "larger")
    save_adapter(attach_random(larger.model), tmp_path / "larger", base=larger)
    with pytest.raises(AdapterError, match="another base, larger"):
        load_adapter(base.model, tmp_path / "larger")


@pytest.fixture
def data(tmp_path):
    """train and dev, a few words of noise each."""
    for name, count in (("train", 6), ("dev", 2)):
        waves = noise_waves(*[0.5 + 0.1 * n for n in range(count)])
        waves = {f"s{n % 2}-{name}{n}": wave for n, wave in enumerate(waves)}
        texts = dict(zip(waves, 2 * ["NO", "GO ON", "YES"], strict=False))
        sound_directory(tmp_path / name, waves, texts)
    return tmp_path


@pytest.mark.usefixtures("few_samples")
def test_an_adapter_is_trained_decoded_and_scored(folder, data, run_command):
    train = ["train", "--config", "whisper", "--base", folder, "--train", data / "train", "--replay", "none"]
    run_command(*train, "--dev", data / "dev", "--epochs", 1, "--out", data / "exp", *BOTH)
    config = read_record(data / "exp/adapter")["config"]
    assert config["placements"] == ["value", "cross_value", "decoder_ffn"]
    assert (config["window"], config["language"]) == ("short", "en")
    decode = ["decode", "--adapter", data / "exp/adapter", "--guard", "off", data / "dev", data / "decode"]
    run_command(*decode)
    record = json.loads((data / "decode/decode.json").read_text())
    assert (record["scoring"], record["language"], record["task"]) == ("english", "en", "transcribe")
    assert record["decoded_again"] == 2
    assert "English normaliser" in run_command("score", data / "dev", data / "decode").out
    assert json.loads((data / "decode/score.json").read_text())["normalize"] == "english"
    refused = run_command("decode", "--base", folder, "--language", "xx", data / "dev", data / "other")
    assert refused.code and "`language=xx`" not in refused.err and "--language" in refused.err


@pytest.mark.usefixtures("few_samples")
def test_a_few_minutes_and_another_method_train_too(folder, data, run_command):
    train = ["train", "--base", folder, "--train", data / "train", "--epochs", 1, "--replay", "none"]
    run_command(*train, "--out", data / "few", *BOTH)
    assert {"value", "cross_value"} <= count_by_placement(
        read_weights(data / "few/folds/fold1/adapter")
    ).keys()
    assert read_record(data / "few/folds/fold1/adapter")["config"]["window"] == "short"
    full = Path(__file__).parents[2] / "egs/compare_methods/local/methods.py:full"
    run_command(*train, "--dev", data / "dev", "--method", full, "--out", data / "full")
    names = load_file(data / "full/adapter/ia3_speech.safetensors")
    assert names and all(name.startswith("model.encoder.layer") for name in names)
    assert read_record(data / "full/adapter")["config"]["window"] == "short"
    asr = load(folder, adapter=data / "full/adapter", options=LoadOptions(method=str(full)))
    assert len(asr.recognizer.logits(WAVES[:1])[0]) == 101


@pytest.mark.usefixtures("few_samples")
def test_auto_chooses_by_audio_and_what_whisper_lacks_is_refused(folder, data, run_command):
    base = load_base(folder)
    random_adapter(folder, data / "ward", 2, "key", "value", "ffn", *DECODER)
    run_command("adapters", "register", data / "ward", "ward")
    run_command("adapters", "gate", "ward", "--data", data / "train")
    transcribe = ("transcribe", "--base", folder, "--format", "json", "--vad", "off", data / "s0-dev0.wav")
    record = json.loads(run_command(*transcribe, "--adapter", "auto").out)
    assert record["gate"][0]["adapter"] in (None, "ward") and record["language"] == "en"
    recognizer = load(folder, adapter="auto:ward", options=LoadOptions(vad="off")).recognizer
    waves = noise_waves(0.7, 1.1, 2.0)
    candidates = recognizer.candidates(waves)[1]
    for wave, both, found in zip(waves, candidates, recognizer.recognize(waves), strict=True):
        texts = [each.texts([wave])[0] for each in both.recognizers]
        assert found.text in texts and len(set(texts)) == len(texts)
    assert general_gate(base).mean.shape == (base.model.config.d_model,)  # of the convolutions
    for option in (("--test-time", "suta"), ("--alternatives", 2)):
        refused = run_command(*transcribe, *option)
        assert refused.code and "a Whisper model has no" in refused.err
    assert (
        json.loads(run_command(*transcribe, "--task", "translate", "--word-timestamps").out)["task"]
        == "translate"
    )
    assert segment_data_directory(data / "dev", data / "cut", base)[0] == 0
    with pytest.raises(UserError, match="has no segmentation"):
        segment_data_directory(data / "dev", data / "cut", base, max_seconds=0.2)


@pytest.fixture(scope="module")
def real():
    """OpenAI's Whisper base, if IA3_SPEECH_WHISPER names its folder (../shared/models/whisper_base.py)."""
    path = os.environ.get("IA3_SPEECH_WHISPER")
    if not path or not SHARED.is_dir():
        pytest.skip("no IA3_SPEECH_WHISPER")
    return load_base(path)


def test_noise_music_and_silence_have_no_text(real):
    pytest.importorskip("silero_vad")
    asr = load(real.name)
    noises = sorted((SHARED / "data/noises").glob("*.ogg"))
    assert len(noises) == 10 and not "".join(result.text for result in asr.transcribe(noises))
    chords, time = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)), np.arange(32_000) / 16_000
    notes = [[np.sin(2 * np.pi * 220 * 2 ** (n / 12) * time) for n in chord] for chord in chords]
    music = np.concatenate([0.2 * np.exp(-time) * np.sum(each, 0) for each in notes]).astype(np.float32)
    assert not asr.transcribe(music).text and not asr.transcribe(np.zeros_like(music)).text


def test_control_tokens_in_a_text_are_plain_characters():
    """A hot word, a prompt or a correction changes neither the language nor the end of a text."""
    vocabulary = make_base(*tiny_whisper(), "tiny").vocabulary
    for text in ("take <|endoftext|> her home", "<|startoftranscript|><|de|><|notimestamps|> so", "a <| b"):
        ids = vocabulary.encode(text)
        assert max(ids) < 256 and vocabulary.decode(ids) == text
    with pytest.raises(UserError, match="`task` is 'sing'"):
        LoadOptions(task="sing")


def test_a_warning_counts_the_hot_words_that_the_prompt_does_not_hold(folder, tmp_path, caplog):
    terms = [f"term{number:03d}" for number in range(100)]
    (tmp_path / "terms.txt").write_text("\n".join(terms))
    asr = load(folder, hotwords=tmp_path / "terms.txt")
    asr.transcribe(WAVES[0])
    search = asr.recognizer.search
    cut = len(terms) - len(search.terms)
    assert 0 < cut < 100 and search.terms == (*terms[cut:],)
    assert caplog.text.count(f"100 hot words: the first {cut} are left out") == 1 == len(caplog.messages)
