"""/v1/voices: a voice begins with consent, its recordings are stored, a job learns, everything is deleted."""

import io
import json
import os
import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
import soundfile

from ia3_speech.adapters import registry
from ia3_speech.corrections import voice
from ia3_speech.serve.app import PAGE
from ia3_speech.serve.jobs import STATE, read_job
from tests.serve.conftest import eventually

SENTENCE = "take two tablets"
FIELDS = {"recordings": ("text", "file"), "learn": ("epochs",)}


def call(running, method: str, path: str = "", key: str = "none", file=None, **fields) -> httpx.Response:
    """A request to /v1/voices; with fields, a form."""
    files = {name: (None, str(value)) for name, value in fields.items()}
    files |= {"file": ("speech.ogg", file.read_bytes())} if file else {}
    headers, url = {"Authorization": f"Bearer {key}"}, f"{running.url}/v1/voices{path}"
    return httpx.request(method, url, files=files or None, headers=headers, timeout=60)


def begin(running, name: str, key: str = "none", **fields) -> httpx.Response:
    return call(running, "POST", "", key, name=name, consent="true", **fields)


def test_what_is_stored_of_a_voice_and_deleted(running, recordings, no_process, monkeypatch, caplog):
    assert call(running, "POST", name="anna", consent="false").status_code == 400
    assert begin(running, "anna", new="true").json()["made"]
    assert begin(running, "anna", new="true").status_code == 409
    assert begin(running, "medical", new="true").status_code == 409, "an adapter's name is taken"
    assert begin(running, "anna").status_code == 201
    for name in ("../up", "mini", "anna@1"):
        assert begin(running, name).status_code in (400, 403), name
    for path in ("/..%2f..%2fetc", "/%2e%2e", "/anna@1/learn", "/anna/recordings/%2e%2e"):
        assert call(running, "DELETE", path).status_code in (400, 403, 404, 405), path
    assert call(running, "POST", "/anna/recordings", text=SENTENCE).status_code == 400
    stored = [call(running, "POST", "/anna/recordings", file=file, text=SENTENCE) for file in recordings[:2]]
    assert [answer.json()["recordings"] for answer in stored] == [1, 2]
    again = call(running, "POST", "/anna/recordings", file=recordings[0], text="no fever")
    assert again.json()["id"] == stored[0].json()["id"], "the same recording gets the new text"
    monkeypatch.setattr(voice, "LOCK_SECONDS", 0.1)
    with voice.only_writer("anna"):  # it learns
        answer = call(running, "POST", "/anna/recordings", file=recordings[1], text="5 mg")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "learning")
    answer = call(running, "POST", "/anna/recordings", file=recordings[1], text="5 mg")
    assert answer.status_code == 201 and "milligrams" not in caplog.text
    call(running, "POST", "/anna/recordings", file=recordings[1], text=SENTENCE)
    for text, words in (("größer", "can't write 'ö'"), (60 * "long ", "frames are needed"), ("", "")):
        refused = call(running, "POST", "/anna/recordings", file=recordings[0], text=text)
        assert refused.status_code == 400 and words in refused.json()["error"]["message"]
        assert str(registry.home().parent) not in refused.text
    answer = call(running, "GET", "/anna")
    assert answer.headers["cache-control"] == "no-store", "texts are on no browser's disk"
    shown = answer.json()
    assert sorted(item["text"] for item in shown["items"]) == ["no fever", SENTENCE]
    assert (shown["recordings"], shown["adapter"], shown["job"]) == (2, False, None)
    assert voice.voice_folder("anna").parent.stat().st_mode & 0o777 == 0o700
    assert call(running, "POST", "/anna/learn", epochs=0).status_code == 400
    assert call(running, "POST", "/anna/learn", epochs=2).json()["job"]["state"] == "queued"
    assert call(running, "POST", "/anna/learn", epochs=2).status_code == 409
    assert call(running, "DELETE", "/anna").status_code == 409, "not while it learns"
    assert call(running, "DELETE", "/anna/learn").json()["job"]["state"] == "cancelled"
    assert call(running, "DELETE", f"/anna/recordings/{shown['items'][0]['id']}").status_code == 200
    assert call(running, "DELETE", "/anna/recordings/nothing").status_code == 400
    registry.register(registry.home() / "accent", "anna")
    registry.register(registry.home() / "medical", "anna@1")
    assert call(running, "DELETE", "/anna").json() == {"id": "anna", "object": "voice", "deleted": True}
    left = [path for path in registry.home().parent.rglob("*") if "anna" in str(path)]
    assert left == [] and call(running, "GET", "/anna").status_code == 404


def test_recordings_of_voices_count_as_held(serving, recordings, monkeypatch):
    seconds, began, go = soundfile.info(recordings[-1]).duration, threading.Event(), threading.Event()
    store = voice.store_recording

    def wait(*arguments):
        began.set()
        assert go.wait(30)
        return store(*arguments)

    monkeypatch.setattr(voice, "store_recording", wait)
    with serving(max_minutes_held=1.5 * seconds / 60) as running, ThreadPoolExecutor() as clients:
        begin(running, "anna")
        request = partial(call, running, "POST", "/anna/recordings", file=recordings[-1], text=SENTENCE)
        first = clients.submit(request)
        assert began.wait(30)
        refused = request()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        go.set()
        assert first.result().status_code == 201 and running.server.held_seconds == 0


@pytest.mark.parametrize("wanted", ["recordings", "learn"])
def test_what_arrives_after_its_voice_was_deleted_stores_nothing(running, recordings, no_process, wanted):
    begin(running, "anna")
    fields = {"text": (None, SENTENCE), "epochs": (None, "2"), "file": recordings[0].read_bytes()}
    form = httpx.Request("POST", running.url, files={name: fields[name] for name in FIELDS[wanted]})
    body = form.read()

    def slowly() -> Iterator[bytes]:
        yield body[:-9]
        assert call(running, "DELETE", "/anna").status_code == 200
        yield body[-9:]

    headers, url = {"Content-Type": form.headers["content-type"]}, f"{running.url}/v1/voices/anna/{wanted}"
    assert httpx.post(url, content=slowly(), headers=headers, timeout=60).status_code == 404
    assert call(running, "GET", "/anna").status_code == 404
    assert not voice.store_of("anna").exists() and not voice.voice_folder("anna").exists()


def test_corrections_of_an_adapter_leave_it(running, recordings, no_process):
    assert not begin(running, "medical").json()["made"]
    call(running, "POST", "/medical/recordings", file=recordings[0], text=SENTENCE)
    assert voice.read_store("medical")[0].text == SENTENCE
    assert call(running, "DELETE", "/medical").status_code == 200
    assert registry.is_registered("medical") and not voice.read_store("medical")
    composed, decomposed = "zoé", unicodedata.normalize("NFD", "zoé")
    registry.register(registry.home() / "accent", composed)
    assert begin(running, decomposed, new="true").status_code == 409, "it is the same name"
    assert not begin(running, decomposed).json()["made"]


def test_a_voice_belongs_to_its_key(serving, adapters, no_process):
    one, two = "key-number-one-0001", "key-number-two-0002"
    line = "- {{name: {}, key: {}, adapters: ['*'], manage: {}}}\n"
    with serving(keys=line.format("a", one, "true") + line.format("b", two, "true")) as running:
        assert begin(running, "anna", one, new="true").status_code == 201
        registry.register(registry.home() / "accent", "anna")
        (registry.home() / "anna/hotwords.txt").write_text("codeine\n")
        for path, status in (("voices/anna", 403), ("adapters/anna", 404), ("adapters/anna/download", 404)):
            for key, expected in ((two, status), (one, 200)):
                headers = {"Authorization": f"Bearer {key}"}
                assert httpx.get(f"{running.url}/v1/{path}", headers=headers).status_code == expected
        assert begin(running, "anna", two).status_code == 403
        assert call(running, "GET", key=two).json()["data"] == []
        assert call(running, "GET", key=one).json()["data"] == [{"name": "anna"}]
        archive = httpx.get(f"{running.url}/v1/adapters/anna/download", headers=headers)
        names = zipfile.ZipFile(io.BytesIO(archive.content)).namelist()
        assert "anna/adapter_model.safetensors" in names and "anna/hotwords.txt" not in names
        models = {key: {m.id for m in running.client(key).models.list()} for key in (one, two)}
        assert models[one] - models[two] == {"anna"}
        assert call(running, "GET", key="nobody").status_code == 401
        assert running.server.jobs.start == "", "no adapter of somebody else"
        begin(running, "bert", one)
        (voice.voice_folder("bert") / voice.VOICE).write_text("{", encoding="utf-8")
        assert begin(running, "bert", one).status_code == 403, "damaged: nobody knows whose it is"
        assert "accent" in {m.id for m in running.client(one).models.list()}
    with serving(keys=line.format("a", "another-key-of-a-0003", "true")) as running:
        assert {"name": "anna"} in call(running, "GET", key="another-key-of-a-0003").json()["data"]
    with serving(keys=line.format("a", one, "false")) as running:
        assert call(running, "GET", key=one).json()["training"] is False
        assert begin(running, "bert", one).status_code == 403
    with serving(training=False) as running:
        assert begin(running, "bert").status_code == call(running, "GET", "/anna").status_code == 403


def test_a_job_learns_goes_on_after_a_restart_and_tells_what_is_wrong(serving, recordings, caplog):
    """In a process of its own: three recordings are too few, which is a reason in words."""
    with serving() as running:
        begin(running, "anna")
        for number, file in enumerate(recordings[:3]):
            call(running, "POST", "/anna/recordings", file=file, text=f"{'very ' * number}short")
        call(running, "POST", "/anna/learn", epochs=1)
        eventually(lambda: read_job("anna")["state"] == "running")
    assert read_job("anna")["state"] == "running", "of a server that has ended"
    with serving() as running:
        eventually(lambda: read_job("anna")["state"] not in ("queued", "running"))
        job = call(running, "GET", "/anna").json()["job"]
        assert job["state"] == "failed" and "anna: 3 utterances can't be divided" in job["result"]["reason"]
        call(running, "POST", "/anna/learn", epochs=1)
        eventually(lambda: read_job("anna")["state"] == "running")
        call(running, "DELETE", "/anna/learn")
        eventually(lambda: read_job("anna")["state"] == "cancelled")
        (voice.voice_folder("bert")).mkdir()
        (voice.voice_folder("bert") / STATE).write_text("{", encoding="utf-8")  # damaged: the others go on
        call(running, "POST", "/anna/learn", epochs=1)
        eventually(lambda: read_job("anna")["state"] == "running" and running.server.jobs.process)
        process = running.server.jobs.process.pid
        assert os.getpgid(process) != os.getpgid(0), "Ctrl-C ends the server, which ends it"
        running.server.jobs.process.kill()
        eventually(lambda: read_job("anna")["state"] == "failed")
    assert "result" not in read_job("anna") and "job ended with -9" in caplog.text


def test_the_page_loads_nothing_from_elsewhere(running):
    page = httpx.get(f"{running.url}/")
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("app.js", "texts.json", "sample.ogg"):
        assert httpx.get(f"{running.url}/page/{name}").status_code == 200
    for name in ("..%2fapp.py", "%2e%2e", "nothing.js", "app.py"):
        assert httpx.get(f"{running.url}/page/{name}").status_code == 404


def test_both_languages_have_all_texts():
    texts = json.loads((PAGE / "texts.json").read_text("utf-8"))
    english = texts.pop("en")
    scripts = "".join(file.read_text("utf-8") for file in PAGE.iterdir() if file.suffix in (".js", ".html"))
    assert len(texts.pop("sentences")["en"]) == 15
    languages = texts.pop("languages").keys() - {"en"}
    assert languages == texts.keys() and all(texts[name].keys() == english.keys() for name in languages)
    computed = ("job_", "no_microphone", "too_")
    assert [name for name in english if f'"{name}"' not in scripts and not name.startswith(computed)] == []
