"""/v1/voices: a voice begins with consent, its recordings are stored, a job learns, everything is deleted."""

import io
import os
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ia3_speech.adapters import registry
from ia3_speech.serve import adapters_api
from ia3_speech.serve.jobs import STATE, Jobs, read_job
from ia3_speech.voices import store
from tests.serve.conftest import SENTENCE, eventually

ONE, TWO, ADMIN = "key-number-one-0001", "key-number-two-0002", "key-of-the-admin-3"
KEYS = f"""
- {{name: a, key: {ONE}, adapters: [medical], manage: ['*']}}
- {{name: b, key: {TWO}, manage: ['*']}}
- {{name: admin, key: {ADMIN}, admin: true}}
"""


def left_of(name: str) -> list[str]:
    return [str(path) for path in registry.home().rglob("*") if name in path.name]


def test_what_is_stored_of_a_voice_and_deleted(running, recordings, no_process, monkeypatch):
    assert running.send("POST", "voices", name="anna", consent="false").status_code == 400
    assert running.begin("medical", new="true").status_code == 409, "an adapter's name is taken"
    assert running.begin("anna", new="true").json()["made"]
    for name in ("../up", "mini", "anna@1"):
        assert running.begin(name).status_code in (400, 403), name
    for path in ("..%2f..%2fetc", "%2e%2e", "anna@1/learn", "anna/recordings/%2e%2e"):
        assert running.send("DELETE", f"voices/{path}").status_code in (400, 403, 404, 405), path
    stored = [running.record("anna", file) for file in recordings[:2]]
    again = running.record("anna", recordings[0], "no fever")
    assert again.json()["id"] == stored[0].json()["id"], "the same recording gets the new text"
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.1)
    with store.only_writer("anna"):  # it learns
        assert running.record("anna", recordings[1], "5 mg").json()["error"]["code"] == "learning"
    for text in ("größer", 60 * "long ", ""):
        refused = running.record("anna", recordings[0], text)
        assert refused.status_code == 400 and str(registry.home()) not in refused.text
    answer = running.send("GET", "voices/anna")
    assert answer.headers["cache-control"] == "no-store", "texts are on no browser's disk"
    shown = answer.json()
    assert sorted(item["text"] for item in shown["items"]) == ["no fever", SENTENCE]
    assert store.voice_folder("anna").parent.stat().st_mode & 0o777 == 0o700
    for fields, status in (({"epochs": 0}, 400), ({"start": "nobody"}, 404)):
        assert running.send("POST", "voices/anna/learn", **fields).status_code == status
    job = running.send("POST", "voices/anna/learn", epochs=2, start="medical").json()["job"]
    assert (job["state"], job["start"]) == ("queued", "medical")
    assert running.send("POST", "voices/anna/learn", epochs=2).status_code == 409
    assert running.send("DELETE", "voices/anna/learn").json()["job"]["state"] == "cancelled"
    assert running.send("DELETE", f"voices/anna/recordings/{shown['items'][0]['id']}").status_code == 200
    registry.register(registry.adapters_dir() / "accent", "anna")
    registry.register(registry.adapters_dir() / "medical", "anna@1")
    assert running.send("DELETE", "voices/anna").json()["deleted"]
    assert left_of("anna") == [] and running.send("GET", "voices/anna").status_code == 404


@pytest.mark.parametrize("path", ["recordings", "learn"])
def test_a_form_that_ends_after_its_voice_was_deleted_stores_nothing(running, recordings, no_process, path):
    running.begin("anna")
    fields = {"text": (None, SENTENCE), "epochs": (None, "2"), "file": recordings[0].read_bytes()}
    form = httpx.Request("POST", running.url, files=fields)
    body = form.read()

    def slowly() -> Iterator[bytes]:
        yield body[:-9]
        assert running.send("DELETE", "voices/anna").status_code == 200
        yield body[-9:]

    headers, url = {"Content-Type": form.headers["content-type"]}, f"{running.url}/v1/voices/anna/{path}"
    assert httpx.post(url, content=slowly(), headers=headers, timeout=60).status_code == 404
    assert running.send("GET", "voices/anna").status_code == 404
    assert not store.store_of("anna").exists() and not store.voice_folder("anna").exists()


def test_another_keys_voice_is_neither_uploaded_over_nor_removed(serving, adapters, no_process, monkeypatch):
    """It begins after the first key was authorized, while the engine is busy, or while a removal waits."""
    with serving(keys=KEYS) as running, ThreadPoolExecutor() as threads:
        copied, copy = threading.Event(), adapters_api.copy_publishable
        monkeypatch.setattr(adapters_api, "copy_publishable", lambda *paths: (copy(*paths), copied.set()))
        with running.server.engine.computing:
            uploaded = threads.submit(running.upload, "bert", adapters["accent"], ONE)
            assert copied.wait(60)
            assert running.begin("bert", TWO).status_code == 201
        assert uploaded.result().status_code == 403 and not registry.is_registered("bert")
        running.begin("anna", ONE)
        with store.only_writer("anna"):
            deleted = threads.submit(running.send, "DELETE", "voices/anna", ONE)
            eventually(lambda: "removed" in store.voice_record("anna"))
            # As a first removal leaves it, and a new owner begins it after that.
            (store.voice_folder("anna") / store.VOICE).write_text('{"owner": "b", "made": true}')
        assert deleted.result().status_code == 400
        assert running.send("GET", "voices/anna", TWO).status_code == 200


def test_a_removal_that_fails_in_the_middle_is_ended_by_another(
    serving, adapters, recordings, no_process, monkeypatch
):
    def fail(name: str) -> None:
        raise OSError(5, "Input/output error")

    with serving(keys=KEYS) as running:
        running.begin("anna", ONE)
        registry.register(adapters["accent"], "anna")
        registry.register(adapters["accent"], "anna@1@2")  # an earlier version of an earlier version
        running.record("anna", recordings[0], key=ONE)
        with monkeypatch.context() as broken:
            broken.setattr(registry, "remove", fail)
            assert running.send("DELETE", "voices/anna", ONE).status_code >= 500
        assert not [name for name in running.models(TWO) if "anna" in name]
        assert running.send("GET", "voices/anna", TWO).status_code == 404
        answers = [running.begin("anna", ONE), running.record("anna", recordings[1], key=ONE)]
        answers.append(running.send("POST", "voices/anna/learn", ONE, epochs=1))
        assert all(answer.status_code == 409 and "deleted" in answer.text for answer in answers)
        assert running.send("DELETE", "voices/anna", ONE).status_code == 200 and left_of("anna") == []


def test_no_answer_tells_that_another_key_has_a_name(serving, adapters, recordings, no_process):
    with serving(keys=KEYS.replace("manage: ['*']", "manage: ['dr-*']")) as running:
        running.begin("dr-one", ONE)
        running.record("dr-one", recordings[0], key=ONE)
        registry.register(adapters["accent"], "dr-one")
        names = ("dr-one", "dr-two", "elsewhere")  # of another key, of nobody, of no pattern of this key
        registry.register(adapters["accent"], "elsewhere")
        file = recordings[0]
        for method, path, fields in (
            ("GET", "voices/NAME", {}), ("DELETE", "voices/NAME", {}), ("DELETE", "voices/NAME/learn", {}),
            ("POST", "voices/NAME/learn", {"epochs": 1}), ("DELETE", "voices/NAME/recordings/x", {}),
            ("POST", "voices/NAME/recordings", {"text": SENTENCE, "file": file}),
            ("GET", "adapters/NAME", {}), ("DELETE", "adapters/NAME", {}),
            ("GET", "adapters/NAME/download", {}), ("GET", "models/NAME", {}),
            ("POST", "audio/transcriptions", {"model": "NAME", "file": file}),
            ("POST", "audio/transcriptions", {"model": "auto:NAME", "file": file}),
        ):  # fmt: skip
            answers = set()
            for name in names:
                sent = {k: v.replace("NAME", name) if isinstance(v, str) else v for k, v in fields.items()}
                answer = running.send(method, path.replace("NAME", name), TWO, **sent)
                answers.add((answer.status_code, answer.text.replace(name, "NAME")))
            assert len(answers) == 1 and min(answers)[0] == 404, (method, path, answers)
        for send in (running.begin, lambda name, key: running.upload(name, adapters["accent"], key)):
            assert len({send(name, TWO).text.replace(name, "NAME") for name in ("dr-one", "elsewhere")}) == 1


def test_an_administrator_lists_all_voices_and_deletes_one(serving, adapters, recordings, no_process, caplog):
    caplog.set_level("INFO", "ia3_speech")
    with serving(keys=KEYS) as running:
        running.begin("dr-01", ONE)
        running.record("dr-01", recordings[0], key=ONE)
        for name in ("dr-01", "dr-01@1", "dr-011"):
            registry.register(adapters["accent"], name)
        running.send("POST", "voices/dr-01/learn", ONE, epochs=1)
        shown = running.send("GET", "voices", ADMIN).json()
        assert (shown["all"], shown["data"]) == (["dr-01"], [])
        assert "all" not in running.send("GET", "voices", TWO).json()
        assert running.send("GET", "voices/dr-01", ADMIN).status_code == 404, "it may not be read"
        assert running.models(ADMIN) == ["mini"]
        for name, status in (("dr-02", 404), ("dr-01@1", 400), ("dr-01", 200), ("dr-01", 404)):
            assert running.send("DELETE", f"voices/{name}", ADMIN).status_code == status, name
        assert left_of("dr-01") == [str(registry.adapters_dir() / "dr-011")]
        line = next(line for line in caplog.text.splitlines() if "dr-01: deleted" in line)
        assert "key admin" in line and "1 recording" in line and "dr-01@1" in line and SENTENCE not in line


def test_a_voice_belongs_to_its_key(serving, adapters, no_process):
    line = "- {{name: {}, key: {}, adapters: ['*'], manage: {}}}\n"
    everything = "['*']"
    with serving(keys=line.format("a", ONE, everything) + line.format("b", TWO, everything)) as running:
        running.begin("anna", ONE, new="true")
        registry.register(adapters["accent"], "anna")
        (registry.adapters_dir() / "anna/hotwords.txt").write_text("codeine\n")
        answer = running.send("GET", "adapters/anna/download", ONE)
        assert "anna/hotwords.txt" not in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert running.begin("anna", TWO).status_code == 403
        for key, found in ((TWO, []), (ONE, [{"name": "anna"}])):
            assert running.send("GET", "voices", key).json()["data"] == found
        assert {*running.models(ONE)} - {*running.models(TWO)} == {"anna"}
        assert running.send("GET", "voices", "nobody").status_code == 401
        running.begin("own", TWO)
        for start, status in (("anna", 404), ("medical", 202)):
            answer = running.send("POST", "voices/own/learn", TWO, epochs=1, start=start)
            assert answer.status_code == status, "no adapter of another key's"
        state = store.voice_folder("own") / STATE
        state.write_text(state.read_text().replace("medical", "anna"))
        assert running.send("GET", "voices/own", TWO).json()["job"]["start"] is None
        (store.voice_folder("anna") / store.VOICE).write_text("{", encoding="utf-8")
        assert running.begin("anna", ONE).status_code == 403, "damaged: the owner is unknown"
    with serving(keys=line.format("c", ONE, everything).replace("}", ", start: accent}")) as running:
        running.begin("cora", ONE)
        job = running.send("POST", "voices/cora/learn", ONE, epochs=1).json()["job"]
        assert job["start"] == "accent"
    with serving(keys=line.format("a", ONE, "[]")) as running:
        assert running.begin("bert", ONE).status_code == 403
    with serving(training=False) as running:
        assert running.begin("bert").status_code == running.send("GET", "voices/anna").status_code == 403


def test_damaged_files_of_one_voice_stop_no_other_and_can_be_deleted(serving, recordings, monkeypatch):
    damaged = ("", "{", "[]", '{"state": "queued"}', '{"state": "queued", "queued": "x"}', '{"state": []}')
    damaged += ('{"state": "running", "queued": null}', '{"state": "queued", "queued": 1, "epochs": []}')
    ran = []
    monkeypatch.setattr(Jobs, "run", lambda self, name: ran.append(name) or self.write(name, "failed"))
    with serving() as running:
        running.begin("anna")
        for number, content in enumerate(damaged):
            running.begin(f"bert{number}")
            (store.voice_folder(f"bert{number}") / STATE).write_text(content)
        running.send("POST", "voices/anna/learn", epochs=1)
        eventually(lambda: {*ran} == {"anna", f"bert{len(damaged) - 1}"})
        (store.voice_folder("bert0") / store.VOICE).write_text("{")
        for number in range(len(damaged)):
            shown = running.send("GET", f"voices/bert{number}").status_code
            assert shown == (200 if number else 400)
            assert running.send("DELETE", f"voices/bert{number}").status_code == 200
        assert left_of("bert") == []


def test_a_job_continues_after_a_restart_and_tells_its_error(serving, recordings, quick_jobs):
    """In its own process: three recordings are too few, which is a reason in words."""
    with serving() as running:
        running.begin("anna")
        for number, file in enumerate(recordings[:3]):
            running.record("anna", file, f"{'very ' * number}short")
        running.send("POST", "voices/anna/learn", epochs=1)
        eventually(lambda: read_job("anna")["state"] == "running" and running.server.jobs.process)
    assert read_job("anna")["state"] == "running", "of a server that has ended"
    with serving() as running:
        eventually(lambda: running.server.jobs.process)
        assert os.getpgid(running.server.jobs.process.pid) != os.getpgid(0), "Ctrl-C ends the server alone"
        eventually(lambda: read_job("anna")["state"] not in ("queued", "running"))
        job = running.send("GET", "voices/anna").json()["job"]
    assert job["state"] == "failed" and "can't be divided" in job["result"]["reason"]


@pytest.mark.parametrize("end", ["cancelled", "failed", None])
def test_however_a_job_ends_no_text_of_it_is_left(serving, recordings, texts, run_command, quick_jobs, end):
    """Cancelled, killed, or deleted by the command line while the server runs."""
    work = store.store_of("anna") / "work"
    with serving() as running:
        running.begin("anna")
        for file in recordings[:6]:
            running.record("anna", file, texts[file.stem])
        running.send("POST", "voices/anna/learn", epochs=20)
        eventually((work / "data/text").is_file)
        if end == "cancelled":
            progress = lambda: running.send("GET", "voices/anna").json()["job"]["progress"]  # noqa: E731
            eventually(lambda: "seconds_left" in progress() and "epoch" in progress())
            shown = progress()
            assert (shown["step"], shown["epochs"]) == ("checking on held-out sentences", 20)
            running.send("DELETE", "voices/anna/learn")
        elif end == "failed":
            running.server.jobs.process.kill()
        else:
            assert run_command("voices", "remove", "anna").code == 0
        eventually(lambda: read_job("anna").get("state") == end)
        assert not work.exists()
        # After its process has ended, the server's thread takes the lock once more, and deletes it.
        eventually(lambda: running.server.jobs.process is None)
        assert end or left_of("anna") == []


def test_the_page_loads_nothing_from_elsewhere(running):
    page = httpx.get(f"{running.url}/")
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("app.js", "texts.json", "sample.ogg"):
        assert httpx.get(f"{running.url}/page/{name}").status_code == 200
    for name in ("..%2fapp.py", "%2e%2e", "nothing.js", "app.py"):
        assert httpx.get(f"{running.url}/page/{name}").status_code == 404
