"""The voices of the page at /, their recordings and training: /v1/voices.

    POST /v1/voices                          name, consent=true: a voice begins
    POST /v1/voices/NAME/recordings          file, text
    POST /v1/voices/NAME/learn               a job begins; DELETE cancels it
    GET /v1/voices/NAME                      its recordings, the progress of the job, its result
    DELETE /v1/voices/NAME[/recordings/ID]   the whole voice, also while it learns; or a single recording

A new name is a new voice, which belongs to the key that began it; the name of a registered adapter collects
corrections for it. A request that stores in a voice, or queues it, holds the lock of its store, and is
authorized again there: while it waited, the voice may have been deleted, and begun by another key.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Request, UploadFile
from pydantic import BaseModel, Field

from ia3_speech.adapters import registry
from ia3_speech.common import atomic
from ia3_speech.serve.access import Client
from ia3_speech.serve.errors import ApiError, bad_value, forbidden
from ia3_speech.serve.forms import ClientOf, FormRoute, ServerOf, decode_audio
from ia3_speech.serve.jobs import read_job
from ia3_speech.serve.state import Server
from ia3_speech.voices import store, voice
from ia3_speech.voices.store import only_writer, voice_names, voice_record

logger = logging.getLogger(__name__)
router = APIRouter(route_class=FormRoute)


class VoiceForm(BaseModel):
    """A new voice; `new` refuses the name of an adapter that was not made of this voice."""

    name: str
    consent: bool
    new: bool = False


class RecordingForm(BaseModel):
    """A recording and its text."""

    file: UploadFile
    text: str = Field(max_length=2_000)


class LearnForm(BaseModel):
    """The number of epochs, and the adapter to start from, whose language model and hot words are copied."""

    epochs: int | None = Field(None, ge=1, le=20)
    start: str | None = None


def voice_name(name: str) -> str:
    """The registry's spelling of a voice's name. Raises BadName."""
    if "@" in (name := registry.check_name(name)):
        raise bad_value("name", "A name with @ belongs to an earlier adapter.")
    return name


def voices_of(client: Client) -> list[str]:
    """The names of voices, and of adapters with corrections, that the client may change."""
    return [name for name in voice_names() if client.may_manage(name)]


def existing_voice(name: str, server: ServerOf, client: ClientOf) -> str:
    """A voice that this client may change; the same ApiError 404 if it is missing or another key's."""
    check_training(server)
    return known_voice(name, voices_of(client))


VoiceOf = Annotated[str, Depends(existing_voice)]  # the parameter of an endpoint


def check_training(server: Server) -> None:
    """Raises ApiError 403 if this server makes no adapters."""
    if not server.jobs:
        raise forbidden("This server makes no adapters.")


def known_voice(name: str, names: list[str]) -> str:
    if (name := voice_name(name)) not in names:
        message = f"There is no voice {name}, or you do not have access to it."
        raise ApiError(404, message, "voice_not_found", "name")
    return name


@contextmanager
def changing(name: str, server: Server, client: Client) -> Iterator[None]:
    """Hold the lock of a voice that exists and is this client's."""
    with only_writer(name):
        existing_voice(name, server, client)
        yield


@router.get("/v1/voices")
def list_voices(server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """The base, whether this key may train, whether adapters are removed over HTTP, and the key's voices; for
    an administrator's key, all voices."""
    training = bool(server.jobs and client.manage)
    data = [{"name": name} for name in voices_of(client)] if training else []
    answer = {"base": server.models.base_id, "language": server.language, "training": training, "data": data}
    answer |= {"uploads": server.limits.upload_adapters}
    return answer | {"admin": client.admin} | ({"all": voice_names()} if client.admin else {})


@router.post("/v1/voices", status_code=201)
def begin_voice(form: Annotated[VoiceForm, File()], server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """Begin a voice; an existing voice stays as it is."""
    check_training(server)
    name = server.check_name(voice_name(form.name), client)
    if not form.consent:
        raise bad_value("consent", "Nothing is stored without consent.")
    is_adapter = registry.is_registered(name)  # blocks while another process writes the registry
    record = voice_record(name)
    if form.new and not record.get("made") and (is_adapter or name in voices_of(client)):
        raise ApiError(409, f"There is already an adapter {name}.", "name_taken", "name")
    if not record or store.REMOVED in record:
        with only_writer(name):  # raises StoreLocked while the voice is being deleted
            server.check_name(name, client)  # another key may have been faster
            is_adapter = registry.is_registered(name)
            owner = None if server.access.file is None or is_adapter else client.name
            record = {"owner": owner, "consent": store.now(), "made": not is_adapter}
            atomic.write_json(store.voice_folder(name) / store.VOICE, record | voice_record(name))
    return describe_voice(name, client)


@router.get("/v1/voices/{name}")
def show_voice(name: VoiceOf, client: ClientOf) -> dict[str, Any]:
    """The recordings of a voice, and its job."""
    return describe_voice(name, client)


@router.delete("/v1/voices/{name}")
def delete_voice(name: str, server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """Delete a voice, also while it learns, and the adapters that were made of it. An adapter that is older
    than the voice stays, unless an administrator's key deletes it."""
    name = known_voice(name, voice_names()) if client.admin else existing_voice(name, server, client)
    may_remove = lambda other: client.admin or client.may_manage(other)  # noqa: E731
    removal = store.remove_voice(name, adapter=client.admin, may_remove=may_remove)
    logger.info("%s, by key %s", removal, client.name)
    for version in removal.adapters:
        server.engine.forget(version)
    server.session.cached_gates.clear()
    left = [other for other in removal.shared if client.admin or client.may_use(other)]
    answer = {"id": name, "object": "voice", "deleted": True}
    return answer | {"adapters": removal.adapters, "adapters_left": left}


@router.post("/v1/voices/{name}/recordings", status_code=201)
async def add_recording(
    request: Request,
    form: Annotated[RecordingForm, File()],
    name: VoiceOf,
    server: ServerOf,
    client: ClientOf,
) -> dict[str, Any]:
    """Store a recording and its text; a repeated recording gets the new text."""
    wave = await decode_audio(request, form.file)

    def store_recording() -> dict[str, Any]:
        with changing(name, server, client):
            correction = voice.Correction(name, Path("recording"), form.text)
            id = voice.store_recording(name, correction, wave, server.session.base)
        return {"id": id, "object": "recording", "recordings": len(voice.read_store(name))}

    return await asyncio.to_thread(store_recording)


@router.delete("/v1/voices/{name}/recordings/{id}")
def delete_recording(id: str, name: VoiceOf, server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """Delete a recording and its text."""
    with changing(name, server, client):
        voice.delete_recordings(name, {id})
    return {"id": id, "object": "recording", "deleted": True}


@router.post("/v1/voices/{name}/learn", status_code=202)
def start_learning(
    form: Annotated[LearnForm, File()], name: VoiceOf, server: ServerOf, client: ClientOf
) -> dict[str, Any]:
    """Queue the training of the voice's adapter on all recordings."""
    if start := form.start or client.start:
        server.models.adapter(start, client)  # raises ApiError
    with changing(name, server, client):
        server.jobs.add(name, form.epochs, start)
    return describe_voice(name, client)


@router.delete("/v1/voices/{name}/learn")
def cancel_learning(name: VoiceOf, server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """Cancel the job of a voice; the recordings and the adapter do not change."""
    server.jobs.cancel(name)
    return describe_voice(name, client)


def describe_voice(name: str, client: Client) -> dict[str, Any]:
    """recordings, seconds, items (id, text, seconds), adapter, made, job (of `read_job`, without
    the starts that the client may not use: the job may be another key's)."""
    stored, job = voice.read_store(name), read_job(name)
    job.pop("stamp", None)
    for entries, key in ((job, "start"), (job.get("result") or {}, "init_adapter")):
        if entries.get(key) and not client.may_use(entries[key]):
            entries[key] = None
    items = [{"id": u.id, "text": u.text, "seconds": round(u.duration, 2)} for u in stored]
    record = {"name": name, "object": "voice", "recordings": len(items), "items": items}
    record |= {"seconds": round(sum(item["seconds"] for item in items), 2), "job": job or None}
    record |= {"adapter": registry.is_registered(name)}
    return record | {"made": bool(voice_record(name).get("made"))}
