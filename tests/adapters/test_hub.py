"""adapters.hub: push and pull as commands against a small Hub on this machine; offline from the cache."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import pytest
from corpus_files import names
from safetensors.numpy import save_file

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import METADATA, read_record, write_record

RECORD = {
    "schema": 1,
    "base": "mini",
    "fingerprint": {"architecture": "Wav2Vec2ForCTC", "model_type": "wav2vec2"},
    "config": {"placements": ["key"], "layers": "all", "train_head": False},
    "labels": {"domain": "medical"},
    "training": {"data": "/home/ann/data/clinic/train", "terms": {"/home/ann/exp/x": "0a1b"}, "seed": 1},
}
TOKEN = "hf_of_this_test"


# A Hub: as much of its API as huggingface_hub uses to make a repository, to commit and to download.
@dataclass
class Repository:
    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((self.commits, sorted(self.files.items()))).encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    """Repositories by id, and a log of what was asked: `GET /me/a/resolve/…`."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self):
        self.route()

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass

    def route(self):
        path = unquote(self.path.partition("?")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            return self.answer(200, {"warnings": [], "errors": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        first = 2 if parts[0] == "api" else 0
        repo, rest = "/".join(parts[first : first + 2]), parts[first + 2 :]
        repository = self.server.repositories.get(repo)
        if repository is None or (repository.private and not self.known()):
            status = 404 if self.known() else 401
            return self.answer(status, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        act = rest[0] if rest else "revision"
        return getattr(self, act)(repo, repository, rest[1:], body)

    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def answer(self, status, value, headers=None):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def create(self, wanted):
        repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if not self.known():
            return self.answer(401, {"error": "Invalid credentials"})
        if repo in self.server.repositories:
            return self.answer(409, {"error": "exists", "url": f"{self.server.url}/{repo}"})
        if not repo.startswith("me/"):
            return self.answer(403, {"error": "not yours"})
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.server.repositories[repo] = Repository(private=bool(private))
        return self.answer(200, {"url": f"{self.server.url}/{repo}", "name": repo})

    def revision(self, repo, found, rest, _body):
        if rest and rest[0] not in ("main", found.sha):
            return self.answer(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name} for name in found.files]
        about = {"id": repo, "sha": found.sha, "private": found.private, "siblings": siblings, "tags": []}
        return self.answer(200, about)

    def tree(self, _repo, found, _rest, _body):
        files = {name: {"type": "file", "path": name, "size": 1, "oid": "0"} for name in found.files}
        return self.answer(200, list(files.values()))

    def preupload(self, _repo, _found, _rest, body):
        how = {"uploadMode": "regular", "shouldIgnore": False}
        files = [how | {"path": file["path"]} for file in json.loads(body)["files"]]
        return self.answer(200, {"files": files})

    def commit(self, repo, found, _rest, body):
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                found.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "deletedFile":
                del found.files[line["value"]["path"]]
        found.commits += 1
        url = f"{self.server.url}/{repo}/commit/{found.sha}"
        return self.answer(200, {"commitUrl": url, "commitOid": found.sha, "pullRequestUrl": None})

    def resolve(self, _repo, found, rest, _body):
        content = found.files.get("/".join(rest[1:]))
        if content is None:
            return self.answer(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound"})
        mark = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": found.sha}
        return self.answer(200, content, mark)


@pytest.fixture
def server():
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield hub
        hub.shutdown()


@pytest.fixture
def run(server, tmp_path, run_command, monkeypatch):
    """A function that runs `ia3-speech adapters …` against the Hub."""
    from huggingface_hub import constants

    for name, value in (("HF_HUB_CACHE", tmp_path / "hf/hub"), ("HF_TOKEN_PATH", tmp_path / "hf/token")):
        monkeypatch.setattr(constants, name, str(value))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def outcome(*words, token=TOKEN, endpoint=server.url, offline=False):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        file = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", file)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setenv("HF_TOKEN", token)
        return run_command("adapters", *words)

    return outcome


@pytest.fixture
def adapter(tmp_path):
    """A function that writes an adapter's files under our own names, or PEFT's."""

    def make(folder="exp/a/adapter", own=False, **changes):
        path = tmp_path / folder
        path.mkdir(parents=True, exist_ok=True)
        key = "wav2vec2.encoder.layers.0.attention.k_proj"
        record = RECORD | changes
        if own:
            save_file({f"{key}.ia3_key": np.full(4, 1.5, np.float32)}, path / "ia3_speech.safetensors")
        else:
            tensors = {f"base_model.model.{key}.ia3_l": np.full((4, 1), 1.5, np.float32)}
            save_file(tensors, path / "adapter_model.safetensors")
            config = {"peft_type": "IA3", "base_model_name_or_path": record["base"]}
            (path / "adapter_config.json").write_text(json.dumps(config))
        (path / "ia3_speech.json").write_text(json.dumps(record))
        return path

    return make


def test_push_and_pull(run, server, adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = adapter(base="/home/ann/models/my-base")
    (source / ".hidden").write_text("")
    (source / "notes.txt").write_text("/home/ann")
    code, out, _ = run("push", source, "me/clinic", "--dry-run", token="", endpoint="http://127.0.0.1:9")
    assert code == 0 and out.startswith("README.md ") and "| base | my-base |" in out
    assert "adapter_model.safetensors  " in out and "notes.txt" not in out and "/home" not in out
    code, out, _ = run("push", source, "me/clinic")
    assert (code, out) == (0, f"{server.url}/me/clinic: pushed\n")
    there = server.repositories["me/clinic"]
    assert sorted(there.files) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "ia3_speech.json",
    ]  # fmt: skip
    assert there.commits == 1 and not there.private
    assert there.files["adapter_model.safetensors"] == (source / "adapter_model.safetensors").read_bytes()
    for name, content in there.files.items():
        assert b"/home" not in content and b"ann" not in content, name
    record = json.loads(there.files["ia3_speech.json"])
    assert (record["base"], record["labels"]) == ("my-base", RECORD["labels"])
    assert record["training"] == {"dataset": "clinic/train", "seed": 1}
    text = there.files["README.md"].decode()
    assert "# me/clinic\n" in text and "base_model: " not in text and "| base | my-base |" in text

    assert run("pull", "me/clinic", token="").out == f"clinic: registered in {registry.adapters_dir()}\n"
    registered = registry.adapters_dir() / "clinic"
    assert {name: (registered / name).read_bytes() for name in there.files} == there.files

    # The base's id there; an older form of the adapter leaves nothing behind, nothing else is touched.
    there.files["LICENSE"] = b"mine"
    other = adapter("exp/b/adapter", own=True)
    assert run("push", other, "me/clinic", "--base", "facebook/wav2vec2-base-960h")[0] == 0
    assert sorted(there.files) == ["LICENSE", "README.md", "ia3_speech.json", "ia3_speech.safetensors"]
    assert there.commits == 2 and b"base_model: facebook/wav2vec2-base-960h\n" in there.files["README.md"]
    assert "another adapter has this name" in run("pull", "me/clinic")[2]
    assert run("pull", "me/clinic", "--force")[0] == 0
    assert names(registered) == ["README.md", "ia3_speech.json", "ia3_speech.safetensors", "store.json"]


def test_what_is_pulled_names_no_path_of_this_machine(run, server, adapter, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/utt2spk").write_text("a a\n")
    training = {"data": str(tmp_path / "data"), "trained_on": ["a"], "audio": ["0"], "corrections": {"a": 1}}
    source = adapter(base=str(tmp_path / "base"), training=training)
    files = {file.name: file.read_bytes() for file in source.iterdir()}
    server.repositories["me/clinic"] = Repository(files)
    assert run("pull", "me/clinic")[0] == 0
    folder = registry.adapters_dir() / "clinic"
    record = read_record(folder)
    assert (record["base"], record["training"]) == ("base", {"dataset": "data"})
    assert registry.registration_of(folder)["source"] == "me/clinic"
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in folder.iterdir())
    write_record(folder, RECORD | {"training": training})  # as it was pulled before
    assert registry.training_data(folder) is None
    assert registry.training_data(registry.register(source, "mine")) == tmp_path / "data", "it is one's own"


def test_by_its_id_online_and_offline(run, server, adapter, tmp_path):
    """As `--adapter me/clinic` finds it: fresh from the Hub, then without it from the cache."""
    run("push", adapter(), "me/clinic")
    assert "labels:      domain=medical\n" in run("show", "me/clinic", token="").out
    first, record = len(server.asked), RECORD | {"labels": {"domain": "legal"}}
    server.repositories["me/clinic"].files["ia3_speech.json"] = json.dumps(record).encode()
    assert "domain=medical" in run("show", "me/clinic", offline=True).out
    assert len(server.asked) == first  # nothing was asked
    assert "domain=legal" in run("show", "me/clinic").out
    assert "domain=legal" in run("show", "me/clinic", endpoint="http://127.0.0.1:9").out
    assert "HF_HUB_OFFLINE" in run("show", "me/other", offline=True).err
    for words in (("pull", "me/other"), ("push", tmp_path / "exp/a", "me/other")):
        refused = run(*words, endpoint="http://127.0.0.1:9")
        assert refused.code == 1 and refused.err.startswith("error: me/other: the Hub")


def test_a_persons_adapter_is_not_published_by_accident(run, server, adapter):
    source = adapter(labels={"speaker": "42"})
    code, _, err = run("push", source, "me/s42")
    assert code == 1 and "biometric data" in err and server.asked == []
    assert run("push", source, "me/s42", "--private")[0] == 0
    assert server.repositories["me/s42"].private
    assert [run("pull", "me/s42", token=token).code for token in ("", TOKEN)] == [1, 0]
    server.repositories["me/public"] = Repository()
    assert run("push", source, "me/public", "--private").code == 1
    assert server.repositories["me/public"].files == {}
    assert run("push", source, "me/public", "--consent")[0] == 0
    (source / METADATA).write_text(json.dumps({"labels": ["speaker", "42"]}))
    assert run("push", source, "me/other").code == 1


def test_what_is_no_adapter_of_ours_is_not_downloaded(run, server, adapter):
    repositories = {
        "pickle": {"adapter_config.json": b'{"peft_type": "IA3"}', "adapter_model.bin": b"cos\nsystem\n"},
        "model": {"config.json": b"{}", "model.safetensors": b"0", "pytorch_model.bin": b"0"},
        "lora": {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": b"0"},
    }
    for name, files in repositories.items():
        server.repositories[f"me/{name}"] = Repository(files)
        code, _, err = run("pull", f"me/{name}")
        assert code == 1 and ("LoRA" if name == "lora" else "pickles are refused") in err
    fetched = {line.rpartition("/")[2] for line in server.asked if "/resolve/" in line}
    assert fetched == {"adapter_config.json", "adapter_model.safetensors"}
    assert registry.registered_names() == []
