"""OpenAI's API: OpenAI's client gets `transcribe`'s output; errors, keys and limits in OpenAI's words."""

import json
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import numpy as np
import openai
import pytest
import soundfile
from tiny_models import random_adapter, tiny_whisper

from ia3_speech.adapters import registry
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.decoding.formats import FORMATS, verbose_segment
from ia3_speech.decoding.options import OutputOptions
from ia3_speech.dictation import make_dictation
from ia3_speech.model.base import load_base, make_base
from ia3_speech.serve.access import hash_of
from ia3_speech.serve.options import ServerOptions, check
from ia3_speech.session import Session, load


def transcribe(client, file, model="mini", **options):
    with file.open("rb") as audio:
        return client.audio.transcriptions.create(model=model, file=audio, **options)


def test_each_format_through_openais_client(running, recordings, offline):
    client, file, expected = running.client(), recordings[1], offline(recordings[1])
    result = transcribe(client, file)
    assert result.text == expected.text and result.usage.type == "duration"
    assert abs(result.usage.seconds - expected.seconds) < 1
    for name in ("text", "srt", "vtt"):
        written = FORMATS[name].write(expected, OutputOptions())
        assert transcribe(client, file, response_format=name) == written
    options = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}
    verbose = transcribe(client, file, language="en", **options)
    assert (verbose.language, verbose.text) == ("english", expected.text)
    assert verbose.duration == pytest.approx(expected.seconds, abs=1e-3)
    for number, (answered, segment) in enumerate(zip(verbose.segments, expected.segments, strict=True)):
        answered, expected_segment = answered.model_dump(), verbose_segment(number, segment)
        assert answered.pop("tokens") == expected_segment.pop("tokens")
        assert answered == pytest.approx(expected_segment, abs=0.002)
    words = [(word.word, word.start, word.end) for word in verbose.words]
    assert words == [(word.text, *map(pytest.approx, (word.start, word.end))) for word in expected.words]
    only = transcribe(client, file, response_format="verbose_json", timestamp_granularities=["word"])
    assert only.segments is None and only.words


@pytest.mark.usefixtures("few_samples")
def test_a_whisper_base_writes_the_language_of_the_request_else_the_servers(session, serving, recordings):
    whisper = Session(make_base(*tiny_whisper(), "whisper"))
    for served, asked, written in (("de", {}, "german"), ("auto", {"language": "en"}, "english")):
        with serving(session=whisper, language=served) as running:
            options = {"response_format": "verbose_json"} | asked
            assert transcribe(running.client(), recordings[0], "whisper", **options).language == written
    with (
        pytest.raises(UserError, match="a CTC model has no choice of languages"),
        serving(session=session, language="auto"),
    ):
        pass


@pytest.mark.usefixtures("few_samples")
def test_requests_of_a_whisper_share_batches_with_their_own_decoders(serving, recordings, tmp_path):
    for part in tiny_whisper():
        part.save_pretrained(tmp_path / "whisper")
    placements = ("value", "cross_value", "decoder_ffn", "decoder_key")
    for seed, name in enumerate(("ward", "desk")):
        random_adapter(tmp_path / "whisper", tmp_path / name, seed, *placements)
        registry.register(tmp_path / name, name)
    base = load_base(tmp_path / "whisper")
    models = ["ward", "whisper", "desk", "ward:0.5+desk"] * 2
    alone = {name: load(base.name, adapter=name).transcribe(recordings[0]).text for name in ("ward", "desk")}
    with serving(session=Session(base), max_wait_ms=300) as running, ThreadPoolExecutor(8) as threads:
        texts = threads.map(lambda name: transcribe(running.client(), recordings[0], name).text, models)
        by_name = dict(zip(models, texts, strict=True))
    assert (
        by_name["ward"] == alone["ward"] and by_name["desk"] == alone["desk"] and len({*by_name.values()}) > 2
    )


def test_dictation_is_written_by_the_servers_rules(serving, recordings, offline, tmp_path):
    spoken = offline(recordings[1]).text
    first, last = spoken.split()[0], spoken.split()[-1]
    rules = tmp_path / "clinic.yaml"
    rules.write_text(f'rules: {{{first}: FIRST}}\ncommands: {{{last}: "\\n"}}\n')
    dictation = make_dictation(rules)
    expected = load("mini", search="greedy", post_process=dictation).transcribe(recordings[1])
    assert expected.text != spoken and expected.text.startswith("FIRST")
    with serving(dictation_rules=rules) as running:
        client, asked = running.client(), {"extra_body": {"dictation": "true"}}
        assert transcribe(client, recordings[1]).text == spoken
        assert transcribe(client, recordings[1], **asked).text == expected.text
        verbose = transcribe(client, recordings[1], response_format="verbose_json", **asked)
        assert (verbose.text, verbose.raw_text) == (expected.text, spoken)


def test_adapters_sums_and_the_base_share_batches(serving, adapters, recordings, offline):
    models = ["mini", "medical", "accent:0.5+medical:0.25", "speaker42"]
    file = recordings[0]
    full = 4.5 * len(load_audio(file)) / SAMPLE_RATE  # a batch waits until the four are there
    with serving(max_wait_ms=60_000.0, batch_seconds=full) as running, ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda model: transcribe(running.client(), file, model).text, models))
        assert running.metric("ia3_batch_adapters_sum") == 4 * running.metric("ia3_batch_rows_count") == 4
        assert running.metric("ia3_adapters_loaded") == 3 == running.metric("ia3_adapter_loads_total")
    assert texts == [offline(file, model).text for model in models] and len(set(texts)) > 1


def test_a_stream_of_a_long_recording(running, recordings, tmp_path, offline):
    file = tmp_path / "long.wav"
    soundfile.write(file, np.concatenate([load_audio(each) for each in recordings[:5]]), 16_000)
    events = list(transcribe(running.client(), file, "accent", stream=True))
    kinds = [event.type for event in events]
    assert kinds == ["transcript.text.delta"] * (len(events) - 1) + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == offline(file, "accent").text
    assert len(events) > 3
    response = running.transcribe(file, "accent", stream="true")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert json.loads(response.text.split("\n\n")[-2][6:])["text"] == events[-1].text


MODEL = "invalid_value", "model"
ERRORS = [
    ({"model": "nobody"}, (404, "model_not_found", "model")),
    ({"model": "../accent"}, (404, "model_not_found", "model")),
    ({"model": "accent:nan"}, (400, *MODEL)),
    ({"model": "accent:1e300+medical:1e300"}, (400, *MODEL)),
    ({"model": ""}, (400, *MODEL)),
    ({"response_format": "srt", "stream": "true"}, (400, "invalid_value", "response_format")),
    ({"language": "de"}, (400, "unsupported_language", "language")),
    ({"file": "no file"}, (400, "invalid_value", "file")),
]


def error_of(response: httpx.Response) -> tuple:
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return response.status_code, error["code"], error["param"], error["type"]


def test_errors_have_openais_shape(running, recordings):
    for fields, expected in ERRORS:
        answer = running.transcribe(**{"file": recordings[0]} | fields)
        assert error_of(answer) == (*expected, "invalid_request_error"), fields
    url = f"{running.url}/v1/audio/transcriptions"
    assert error_of(httpx.post(url, json={"model": "mini"}))[1] == "invalid_content_type"
    for path, status in (("unknown", 404), ("audio/transcriptions", 405)):
        answer = running.send("GET", path)
        assert answer.status_code == status == error_of(answer)[0]
    with pytest.raises(openai.BadRequestError) as caught:
        transcribe(running.client(), recordings[0], language="de")
    assert caught.value.code == "unsupported_language" and caught.value.param == "language"


CLINIC, DOCTOR = "key-of-the-clinic-1", "key-of-the-doctor"
KEYS = f"""
- {{name: clinic, key: {CLINIC}, adapters: [medical], manage: ["dr-*"]}}
- {{name: doctor, key: "SHA256:{hash_of(DOCTOR).upper()}", adapters: [speaker42]}}
"""


def test_a_key_uses_its_adapters_and_learns_no_others_name(serving, adapters, recordings, caplog):
    def may_use(client: openai.OpenAI, model: str) -> bool:
        with suppress(openai.NotFoundError):
            return bool(transcribe(client, recordings[0], model).text)
        return False

    with serving(keys=KEYS) as running:
        clinic, doctor = running.client(CLINIC), running.client(DOCTOR)
        assert running.models(CLINIC) == ["mini", "medical"]
        assert running.models(DOCTOR) == ["mini", "speaker42"]
        assert may_use(doctor, "speaker42")
        messages = set()
        for name in ("speaker42", "speaker43", "speaker42:0.5+medical"):
            with pytest.raises(openai.NotFoundError) as caught:
                transcribe(clinic, recordings[0], name)
            messages.add(str(caught.value).replace(name, "NAME"))
        assert len(messages) == 1
        decomposed = unicodedata.normalize("NFD", "dr-é")  # this spelling does not evade a pattern
        for name, spelled, expected in (
            ("dr-é", decomposed, True),
            ("medical@1", "medical@1", True),  # an earlier version belongs to its name
            ("medical@home", "medical@home", False),  # and this is another name
        ):
            registry.register(adapters["accent"], name)
            assert may_use(clinic, spelled) == expected and not may_use(doctor, spelled), name
            registry.remove(name)
        for key in ("wrong-key-0123456789", ""):
            answer = running.send("GET", "models", key)
            assert error_of(answer)[0] == 401 and answer.headers["www-authenticate"] == "Bearer"
        running.server.access.file.write_text("- {name: clinic, key: short}")  # is ignored
        assert running.models(CLINIC) == ["mini", "medical"] and "short}" not in caplog.text
        running.server.access.file.write_text("- {name: new, key: another-key-0123456789}")
        with pytest.raises(openai.AuthenticationError):
            clinic.models.list()


def test_an_alias_is_for_keys_that_may_use_its_target(serving, adapters, recordings):
    aliases = ["whisper-1=medical", "gpt-4o-transcribe=medical:0.5+speaker42"]
    with serving(keys=KEYS, alias=aliases) as running:
        assert running.models(CLINIC) == ["mini", "whisper-1", "medical"]
        assert running.models(DOCTOR) == ["mini", "speaker42"]
        clinic = running.client(CLINIC)
        assert len({transcribe(clinic, recordings[0], name).text for name in ("whisper-1", "medical")}) == 1
        with pytest.raises(openai.NotFoundError) as caught:
            transcribe(clinic, recordings[0], "gpt-4o-transcribe")
        assert "speaker42" not in str(caught.value)
    with pytest.raises(UserError, match="`alias=whisper-1"):
        check(ServerOptions(alias=["whisper-1"]))


def test_limits_are_answered_with_the_status_and_when_to_come_again(serving, adapters, recordings):
    with serving(max_megabytes=0.01, rate=3.0) as running:
        assert error_of(running.transcribe(recordings[-1]))[:2] == (413, "content_too_large")
        start = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        body = (part for part in [start, *[b"x" * 4096] * 10])  # no header states its length
        headers = {"content-type": "multipart/form-data; boundary=x"}
        url = f"{running.url}/v1/audio/transcriptions"
        assert httpx.post(url, content=body, headers=headers).status_code == 413
        running.models()
        with pytest.raises(openai.RateLimitError) as caught:
            running.models()
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 20
    with serving(max_minutes=0.03, max_requests=1) as running:
        assert error_of(running.transcribe(recordings[-1]))[:2] == (413, "audio_too_long")
        with running.server.admission():
            refused = running.transcribe(recordings[0])
        assert refused.status_code == 503 and refused.headers["retry-after"] == "2"


def test_alternatives_need_words(running, recordings):
    for fields in ({}, {"response_format": "srt"}, {"response_format": "verbose_json"}):
        answer = running.transcribe(recordings[0], alternatives=2, **fields)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "alternatives"
