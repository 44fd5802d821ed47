"""/v1/voices: a voice begins with consent, its recordings are stored, a job learns, everything is deleted."""

import io
import json
import os
import shutil
import threading
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
import soundfile

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.corrections import store, voice
from ia3_speech.serve.app import PAGE
from ia3_speech.serve.jobs import STATE, Jobs, read_job
from tests.serve.conftest import begin, call, eventually
from tests.serve.test_adapters_api import upload

SENTENCE = "take two tablets"
FIELDS = {"recordings": ("text", "file"), "learn": ("epochs",)}


def test_what_is_stored_of_a_voice_and_deleted(running, recordings, no_process, monkeypatch, caplog):
    assert call(running, "POST", name="anna", consent="false").status_code == 400
    assert begin(running, "anna", new="true").json()["made"]
    assert begin(running, "medical", new="true").status_code == 409, "an adapter's name is taken"
    assert begin(running, "anna", new="true").status_code == 201, "who comes back goes on"
    for name in ("../up", "mini", "anna@1"):
        assert begin(running, name).status_code in (400, 403), name
    for path in ("/..%2f..%2fetc", "/%2e%2e", "/anna@1/learn", "/anna/recordings/%2e%2e"):
        assert call(running, "DELETE", path).status_code in (400, 403, 404, 405), path
    assert call(running, "POST", "/anna/recordings", text=SENTENCE).status_code == 400
    stored = [call(running, "POST", "/anna/recordings", file=file, text=SENTENCE) for file in recordings[:2]]
    assert [answer.json()["recordings"] for answer in stored] == [1, 2]
    again = call(running, "POST", "/anna/recordings", file=recordings[0], text="no fever")
    assert again.json()["id"] == stored[0].json()["id"], "the same recording gets the new text"
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.1)
    with store.only_writer("anna"):  # it learns
        answer = call(running, "POST", "/anna/recordings", file=recordings[1], text="5 mg")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "learning")
    answer = call(running, "POST", "/anna/recordings", file=recordings[1], text="5 mg")
    assert answer.status_code == 201 and "milligrams" not in caplog.text
    call(running, "POST", "/anna/recordings", file=recordings[1], text=SENTENCE)
    for text, words in (("größer", "can't write 'ö'"), (60 * "long ", "frames are needed"), ("", "")):
        refused = call(running, "POST", "/anna/recordings", file=recordings[0], text=text)
        assert refused.status_code == 400 and words in refused.json()["error"]["message"]
        assert str(registry.home()) not in refused.text
    answer = call(running, "GET", "/anna")
    assert answer.headers["cache-control"] == "no-store", "texts are on no browser's disk"
    shown = answer.json()
    assert sorted(item["text"] for item in shown["items"]) == ["no fever", SENTENCE]
    assert (shown["recordings"], shown["adapter"], shown["job"]) == (2, False, None)
    assert store.voice_folder("anna").parent.stat().st_mode & 0o777 == 0o700
    assert call(running, "POST", "/anna/learn", epochs=0).status_code == 400
    assert call(running, "POST", "/anna/learn", start="nobody").status_code == 404
    job = call(running, "POST", "/anna/learn", epochs=2, start="medical").json()["job"]
    assert (job["state"], job["start"]) == ("queued", "medical")
    assert call(running, "POST", "/anna/learn", epochs=2).status_code == 409
    assert call(running, "DELETE", "/anna/learn").json()["job"]["state"] == "cancelled"
    call(running, "POST", "/anna/learn", epochs=2)
    assert call(running, "DELETE", f"/anna/recordings/{shown['items'][0]['id']}").status_code == 200
    assert call(running, "DELETE", "/anna/recordings/nothing").status_code == 400
    registry.register(registry.adapters_dir() / "accent", "anna")
    registry.register(registry.adapters_dir() / "medical", "anna@1")
    assert call(running, "DELETE", "/anna").json() == {"id": "anna", "object": "voice", "deleted": True}
    left = [path for path in registry.home().rglob("*") if "anna" in str(path)]
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
    assert not store.store_of("anna").exists() and not store.voice_folder("anna").exists()


ONE, TWO, ADMIN = "key-number-one-0001", "key-number-two-0002", "key-of-the-admin-3"
KEYS = f"""
- {{name: a, key: {ONE}, adapters: [medical], manage: ['*']}}
- {{name: b, key: {TWO}, manage: ['*']}}
- {{name: admin, key: {ADMIN}, admin: true}}
"""


def left_of(name: str) -> list[str]:
    return [str(path) for path in registry.home().rglob("*") if name in path.name]


def test_an_upload_while_its_voice_is_deleted_leaves_nothing(serving, adapters, recordings, no_process):
    """Which the engine, busy with a batch, made possible for minutes."""
    with serving(keys=KEYS) as running, ThreadPoolExecutor() as threads:
        begin(running, "anna", ONE)
        registry.register(adapters["accent"], "anna")
        call(running, "POST", "/anna/recordings", ONE, recordings[0], text=SENTENCE)
        go_on = threading.Event()
        running.server.engine.call(go_on.wait)
        deleted = threads.submit(call, running, "DELETE", "/anna", ONE)
        eventually(lambda: not registry.is_registered("anna"))
        late = call(running, "POST", "/anna/recordings", ONE, recordings[1], text=SENTENCE)
        go_on.set()
        assert (deleted.result().status_code, late.status_code) == (200, 404)
        assert left_of("anna") == [] and call(running, "GET", "/anna", TWO).status_code == 404


def test_what_waits_while_a_voice_is_deleted_is_of_its_next_owner(serving, recordings, no_process):
    """A removal, an upload, a job and two beginners wait for one writer."""
    with serving(keys=KEYS) as running, ThreadPoolExecutor() as threads:
        begin(running, "anna", ONE)
        call(running, "POST", "/anna/recordings", ONE, recordings[0], text=SENTENCE)
        with store.only_writer("anna"):
            deleted = threads.submit(call, running, "DELETE", "/anna", ONE)
            eventually(lambda: "removed" in store.voice_record("anna"))
            waiting = [threads.submit(call, running, "POST", "/anna/learn", ONE, epochs=1)]
            fields = {"file": recordings[1], "text": SENTENCE}
            waiting.append(threads.submit(call, running, "POST", "/anna/recordings", ONE, **fields))
            begun = [threads.submit(begin, running, "anna", key, new="true") for key in (ONE, TWO)]
            time.sleep(0.5)  # until they wait
        assert deleted.result().status_code == 200
        statuses = [one.result().status_code for one in begun]
        owner = store.voice_record("anna").get("owner") if 201 in statuses else None
        assert [status for status in statuses if status == 201] == ([201] if owner else [])
        answers = {one.result().status_code for one in waiting}
        if owner == "a":  # who began it again, and may store in it and let it learn
            assert answers <= {201, 202, 400, 404, 409}
        else:
            assert answers <= {404, 409} and not voice.read_store("anna") and read_job("anna") == {}
        for key, name in ((ONE, "a"), (TWO, "b")):
            seen = call(running, "GET", "/anna", key).status_code
            assert seen == (200 if owner == name else 404)


def test_another_keys_voice_is_neither_uploaded_over_nor_removed(serving, adapters, no_process):
    """It begins after the first key was authorized, while the engine is busy, or while a removal waits."""
    with serving(keys=KEYS) as running, ThreadPoolExecutor() as threads:
        go_on = threading.Event()
        running.server.engine.call(go_on.wait)
        eventually(lambda: not running.server.engine.calls)
        uploaded = threads.submit(upload, running, "bert", adapters["accent"], key=ONE)
        eventually(lambda: running.server.engine.calls)
        assert begin(running, "bert", TWO).status_code == 201
        go_on.set()
        assert uploaded.result().status_code == 403 and not registry.is_registered("bert")
        begin(running, "anna", ONE)
        with store.only_writer("anna"):
            deleted = threads.submit(call, running, "DELETE", "/anna", ONE)
            eventually(lambda: "removed" in store.voice_record("anna"))
            # As a first removal, and who begins it after that, leave it.
            (store.voice_folder("anna") / store.VOICE).write_text('{"owner": "b", "made": true}')
        assert deleted.result().status_code == 400
        assert call(running, "GET", "/anna", TWO).status_code == 200


def test_a_removal_that_ends_in_the_middle_is_ended_by_another(
    serving, adapters, recordings, no_process, monkeypatch
):
    def fail(name: str) -> None:
        raise OSError(5, "Input/output error")

    with serving(keys=KEYS) as running:
        begin(running, "anna", ONE)
        registry.register(adapters["accent"], "anna")
        registry.register(adapters["accent"], "anna@1@2")  # an earlier one of an earlier one
        call(running, "POST", "/anna/recordings", ONE, recordings[0], text=SENTENCE)
        with monkeypatch.context() as broken:
            broken.setattr(registry, "remove", fail)
            assert call(running, "DELETE", "/anna", ONE).status_code >= 500
        assert not [m.id for m in running.client(TWO).models.list() if "anna" in m.id]
        assert call(running, "GET", "/anna", TWO).status_code == 404
        for path, fields in (("", {"name": "anna", "consent": "true"}), ("/anna/learn", {"epochs": 1})):
            answer = call(running, "POST", path, ONE, **fields)
            assert answer.status_code == 409 and "deleted" in answer.text
        refused = call(running, "POST", "/anna/recordings", ONE, recordings[1], text=SENTENCE)
        assert refused.status_code == 409
        assert call(running, "DELETE", "/anna", ONE).status_code == 200 and left_of("anna") == []


def test_an_adapter_that_was_there_before_the_voice_is_as_it_was(serving, adapters, recordings, tmp_path):
    with serving() as running:
        registry.register(adapters["medical"], "ward")
        before = registry.file_contents(registry.adapters_dir() / "ward")
        assert begin(running, "ward").json()["made"] is False
        call(running, "POST", "/ward/recordings", file=recordings[0], text=SENTENCE)
        shutil.copytree(adapters["accent"], tmp_path / "learnt")
        for checksum in range(2):
            record = read_record(adapters["accent"]) | {"training": {"corrections": {"a": checksum}}}
            write_record(tmp_path / "learnt", record)
            registry.register(tmp_path / "learnt", "ward", keep=True)
        assert {"ward", "ward@1", "ward@2"} <= {*registry.registered_names()}
        assert call(running, "DELETE", "/ward").status_code == 200
        assert [name for name in registry.registered_names() if "ward" in name] == ["ward"]
        assert registry.file_contents(registry.adapters_dir() / "ward") == before
        assert not store.is_stored("ward")


def test_no_answer_tells_that_another_key_has_a_name(serving, adapters, recordings, no_process):
    with serving(keys=KEYS.replace("manage: ['*']", "manage: ['dr-*']")) as running:
        begin(running, "dr-one", ONE)
        call(running, "POST", "/dr-one/recordings", ONE, recordings[0], text=SENTENCE)
        registry.register(adapters["accent"], "dr-one")
        names = ("dr-one", "dr-two", "elsewhere")  # of another key, of nobody, of no pattern of this key
        registry.register(adapters["accent"], "elsewhere")
        for method, path, fields in (
            ("GET", "voices/NAME", {}), ("DELETE", "voices/NAME", {}), ("DELETE", "voices/NAME/learn", {}),
            ("POST", "voices/NAME/learn", {"epochs": 1}), ("DELETE", "voices/NAME/recordings/x", {}),
            ("POST", "voices/NAME/recordings", {"text": SENTENCE}), ("GET", "adapters/NAME", {}),
            ("GET", "adapters/NAME/download", {}), ("DELETE", "adapters/NAME", {}),
            ("GET", "models/NAME", {}), ("POST", "audio/transcriptions", {"model": "NAME"}),
            ("POST", "audio/transcriptions", {"model": "auto:NAME"}),
        ):  # fmt: skip
            answers = set()
            for name in names:
                files = {field: (None, str(value).replace("NAME", name)) for field, value in fields.items()}
                if "text" in fields or "model" in fields:
                    files["file"] = ("speech.ogg", recordings[0].read_bytes())
                headers, url = (
                    {"Authorization": f"Bearer {TWO}"},
                    f"{running.url}/v1/{path}".replace("NAME", name),
                )
                answer = httpx.request(method, url, files=files or None, headers=headers, timeout=60)
                answers.add((answer.status_code, answer.text.replace(name, "NAME")))
            assert len(answers) == 1 and min(answers)[0] == 404, (method, path, answers)
        told = {begin(running, name, TWO).text.replace(name, "NAME") for name in ("dr-one", "elsewhere")}
        assert len(told) == 1
        told = {upload(running, name, adapters["accent"], key=TWO).text for name in ("dr-one", "elsewhere")}
        assert len(told) == 1


def test_damaged_files_of_one_voice_stop_no_other_and_can_be_deleted(serving, recordings, monkeypatch):
    damaged = ("", "{", "[]", '{"state": "queued"}', '{"state": "queued", "queued": "x"}', '{"state": []}')
    damaged += ('{"state": "running", "queued": null}', '{"state": "queued", "queued": 1, "epochs": []}')
    ran = []
    run = Jobs.run
    monkeypatch.setattr(Jobs, "run", lambda self, name: ran.append(name) or run(self, name))
    with serving() as running:
        begin(running, "anna")
        call(running, "POST", "/anna/recordings", file=recordings[0], text=SENTENCE)
        for number, content in enumerate(damaged):
            begin(running, f"bert{number}")
            (store.voice_folder(f"bert{number}") / STATE).write_text(content)
        monkeypatch.setattr(running.server.jobs, "base", "no/such/base")  # whatever comes of it
        running.server.jobs.wake.set()
        call(running, "POST", "/anna/learn", epochs=1)
        eventually(lambda: read_job("anna")["state"] == "failed")
        assert "anna" in ran
        (store.voice_folder("bert0") / store.VOICE).write_text("{")
        for number in range(len(damaged)):
            assert call(running, "GET", f"/bert{number}").status_code == (200 if number else 400)
            assert call(running, "DELETE", f"/bert{number}").status_code == 200
        assert left_of("bert") == []


def test_an_administrator_lists_all_voices_and_deletes_one(serving, adapters, recordings, no_process, caplog):
    caplog.set_level("INFO", "ia3_speech")
    with serving(keys=KEYS) as running:
        begin(running, "dr-01", ONE)
        call(running, "POST", "/dr-01/recordings", ONE, recordings[0], text=SENTENCE)
        for name in ("dr-01", "dr-01@1", "dr-011"):
            registry.register(adapters["accent"], name)
        call(running, "POST", "/dr-01/learn", ONE, epochs=1)
        shown = call(running, "GET", key=ADMIN).json()
        assert (shown["all"], shown["data"]) == (["dr-01"], [])
        assert "all" not in call(running, "GET", key=TWO).json()
        assert call(running, "GET", "/dr-01", ADMIN).status_code == 404, "an administrator does not read it"
        assert {m.id for m in running.client(ADMIN).models.list()} == {"mini"}
        for name, status in (("dr-02", 404), ("dr-01@1", 400), ("dr-01", 200), ("dr-01", 404)):
            assert call(running, "DELETE", f"/{name}", ADMIN).status_code == status, name
        assert left_of("dr-01") == [str(registry.adapters_dir() / "dr-011")]
        told = next(line for line in caplog.text.splitlines() if "dr-01: deleted" in line)
        assert "key admin" in told and "1 recording" in told and "dr-01@1" in told and SENTENCE not in told


def test_corrections_of_an_adapter_leave_it(running, recordings, no_process):
    assert not begin(running, "medical").json()["made"]
    call(running, "POST", "/medical/recordings", file=recordings[0], text=SENTENCE)
    assert voice.read_store("medical")[0].text == SENTENCE
    assert call(running, "DELETE", "/medical").status_code == 200
    assert registry.is_registered("medical") and not voice.read_store("medical")
    composed, decomposed = "zoé", unicodedata.normalize("NFD", "zoé")
    registry.register(registry.adapters_dir() / "accent", composed)
    assert begin(running, decomposed, new="true").status_code == 409, "it is the same name"
    assert not begin(running, decomposed).json()["made"]


def test_a_voice_belongs_to_its_key(serving, adapters, no_process):
    one, two = "key-number-one-0001", "key-number-two-0002"
    line = "- {{name: {}, key: {}, adapters: ['*'], manage: {}}}\n"
    everything = "['*']"
    with serving(keys=line.format("a", one, everything) + line.format("b", two, everything)) as running:
        assert begin(running, "anna", one, new="true").status_code == 201
        registry.register(registry.adapters_dir() / "accent", "anna")
        (registry.adapters_dir() / "anna/hotwords.txt").write_text("codeine\n")
        for path, status in (("voices/anna", 404), ("adapters/anna", 404), ("adapters/anna/download", 404)):
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
        (store.voice_folder("bert") / store.VOICE).write_text("{", encoding="utf-8")
        assert begin(running, "bert", one).status_code == 403, "damaged: nobody knows whose it is"
        assert "accent" in {m.id for m in running.client(one).models.list()}
    with serving(keys=line.format("a", "another-key-of-a-0003", everything)) as running:
        assert {"name": "anna"} in call(running, "GET", key="another-key-of-a-0003").json()["data"]
    with serving(keys=line.format("a", one, "[]")) as running:
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
        (store.voice_folder("bert")).mkdir()
        (store.voice_folder("bert") / STATE).write_text("{", encoding="utf-8")  # damaged: the others go on
        call(running, "POST", "/anna/learn", epochs=1)
        eventually(lambda: read_job("anna")["state"] == "running" and running.server.jobs.process)
        process = running.server.jobs.process.pid
        assert os.getpgid(process) != os.getpgid(0), "Ctrl-C ends the server, which ends it"
        running.server.jobs.process.kill()
        eventually(lambda: read_job("anna")["state"] == "failed")
    assert "result" not in read_job("anna") and "job ended with -9" in caplog.text


def test_however_a_learning_ends_no_text_of_it_is_left(serving, recordings, run_command):
    """Cancelled, killed, or deleted by the command line while the server runs."""
    lines = (recordings[0].parents[1] / "text").read_text("utf-8").splitlines()
    texts = {id: text.lower() for id, text in (line.split(" ", 1) for line in lines)}
    work = store.store_of("anna") / "work"
    with serving() as running:
        begin(running, "anna")
        for file in recordings[:6]:
            call(running, "POST", "/anna/recordings", file=file, text=texts[file.stem])
        for end in ("cancelled", "failed", None):
            call(running, "POST", "/anna/learn", epochs=20)
            eventually((work / "data/text").is_file)
            if end == "cancelled":
                call(running, "DELETE", "/anna/learn")
            elif end == "failed":
                running.server.jobs.process.kill()
            else:
                result = run_command("voices", "remove", "anna")
                assert result.code == 0 and result.out.startswith("anna: deleted 6 recordings")
                assert left_of("anna") == []
            eventually(lambda end=end: read_job("anna").get("state") == end)
            assert not work.exists()
        eventually(lambda: running.server.jobs.process is None)
        assert left_of("anna") == []


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
