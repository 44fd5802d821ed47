"""What the page at / stores and makes: /v1/voices.

    POST /v1/voices                          name, consent=true: a voice begins
    POST /v1/voices/NAME/recordings          file, text
    POST /v1/voices/NAME/learn               a job begins; DELETE cancels it
    GET /v1/voices/NAME                      what is stored, how far the job is, what came of it
    DELETE /v1/voices/NAME[/recordings/ID]   everything, also while it learns; or one recording

A voice is a name with recordings and what was said in them: the store of `ia3-speech corrections`. A new name
is a new voice; that of a registered adapter collects corrections of it. With keys, a new voice belongs to the
key that it began with; an administrator's key may list the names of all voices, and delete each. Whatever
stores in a voice, or queues it, holds the lock of its store, and is authorized again there: while it waited,
the voice may have been deleted, and begun by another key.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from ia3_speech import atomic
from ia3_speech.adapters import registry
from ia3_speech.corrections import voice
from ia3_speech.corrections.store import (
    REMOVED,
    VOICE,
    only_writer,
    remove_voice,
    voice_folder,
    voice_names,
    voice_record,
)
from ia3_speech.errors import StoreLocked, UserError
from ia3_speech.serve.access import Client
from ia3_speech.serve.errors import ApiError, bad_value
from ia3_speech.serve.jobs import public_reason, read_job
from ia3_speech.serve.openai_api import FILE, decoded_file, fields_of, form_description, read_form
from ia3_speech.serve.state import Server

router = APIRouter()


class VoiceForm(BaseModel):
    """A voice that begins; `new` refuses the name of an adapter that is not this voice's."""

    name: str
    consent: bool
    new: bool = False


class RecordingForm(BaseModel):
    """What is said in a recording."""

    text: str = Field(max_length=2_000)


class LearnForm(BaseModel):
    """How long to train, and the adapter to start from, whose language model and hot words a new one gets."""

    epochs: int | None = Field(None, ge=1, le=20)
    start: str | None = None


@router.get("/v1/voices")
async def list_voices(request: Request) -> dict[str, Any]:
    """The base, whether this key may train, and its voices: what the page asks first. To an administrator's
    key also the names of all."""
    server, client = request.app.state.server, request.state.client
    training = server.training and bool(client.manage)
    names = await asyncio.to_thread(voices_of, client) if training else []
    told = {"base": server.models.base_id, "language": server.language, "training": training}
    told |= {"data": [{"name": name} for name in names], "admin": client.admin}
    if client.admin:
        told["all"] = await asyncio.to_thread(voice_names)
    return told


@router.post("/v1/voices", status_code=201, openapi_extra=form_description(VoiceForm))
async def begin_voice(request: Request) -> dict[str, Any]:
    """Begin a voice; for one that has begun, nothing changes."""
    server, client = request.app.state.server, request.state.client
    async with read_form(request, max_files=0) as (_, form):
        wanted = fields_of(form, VoiceForm)
    name = check_voice(server, client, wanted.name)
    if not wanted.consent:
        raise bad_value("consent", "Nothing is stored without consent.")

    def begin() -> dict[str, Any]:
        is_adapter = registry.is_registered(name)  # it waits for a writer
        record = voice_record(name)
        if wanted.new and not record.get("made") and (is_adapter or name in voices_of(client)):
            raise ApiError(409, f"There is already an adapter {name}.", "name_taken", "name")
        if not record or REMOVED in record:
            with only_writer(name):  # raises where it is being deleted
                check_voice(server, client, name)  # another key may have been faster
                is_adapter = registry.is_registered(name)
                owner = None if server.access.file is None or is_adapter else client.name
                record = {"owner": owner, "consent": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
                record |= {"made": not is_adapter}
                atomic.write_json(voice_folder(name) / VOICE, record | voice_record(name))
        return describe_voice(name)

    return await in_thread(begin)


@router.get("/v1/voices/{name}")
async def show_voice(name: str, request: Request) -> dict[str, Any]:
    """What is stored of a voice, and its job."""
    return await in_thread(describe_voice, existing_voice(request, name))


@router.delete("/v1/voices/{name}")
async def delete_voice(name: str, request: Request) -> dict[str, Any]:
    """Delete a voice, and the adapters that were made of it; one that was there before it stays, unless an
    administrator's key deletes it. The voice may be learning."""
    server, client = request.app.state.server, request.state.client
    if not client.admin:
        name = existing_voice(request, name)
    elif (name := checked_name(name)) not in voice_names():
        raise unknown_voice(name)
    removal = await in_thread(remove_voice, name, f"key {client.name}", adapter=client.admin)
    for version in removal.adapters:
        await asyncio.to_thread(server.engine.call(partial(server.cache.forget, version)).result)
    server.session.cached_gate.cache_clear()
    return {"id": name, "object": "voice", "deleted": True}


@router.post(
    "/v1/voices/{name}/recordings", status_code=201, openapi_extra=form_description(RecordingForm, file=FILE)
)
async def add_recording(name: str, request: Request) -> dict[str, Any]:
    """Store a recording and what is said in it; the same recording again gets the new text."""
    server, name = request.app.state.server, existing_voice(request, name)
    async with read_form(request, max_files=1) as (handle, form):
        text = fields_of(form, RecordingForm).text
        async with decoded_file(request, form, handle) as wave:
            base = server.recognizer.base
            id = await change_voice(request, name, voice.store_recording, name, wave, text, base)
    stored = await asyncio.to_thread(voice.read_store, name)
    return {"id": id, "object": "recording", "recordings": len(stored)}


@router.delete("/v1/voices/{name}/recordings/{id}")
async def delete_recording(name: str, id: str, request: Request) -> dict[str, Any]:
    """Delete one recording, and what is said in it."""
    name = existing_voice(request, name)
    await change_voice(request, name, voice.delete_recordings, name, {id})
    return {"id": id, "object": "recording", "deleted": True}


@router.post("/v1/voices/{name}/learn", status_code=202, openapi_extra=form_description(LearnForm))
async def start_learning(name: str, request: Request) -> dict[str, Any]:
    """Queue the voice: its adapter learns from all recordings."""
    server, name = request.app.state.server, existing_voice(request, name)
    async with read_form(request, max_files=0) as (_, form):
        wanted = fields_of(form, LearnForm)
    if wanted.start:
        await asyncio.to_thread(server.models.adapter, wanted.start, request.state.client)  # raises ApiError
    await change_voice(request, name, server.jobs.add, name, wanted.epochs, wanted.start)
    return await in_thread(describe_voice, name)


@router.delete("/v1/voices/{name}/learn")
async def cancel_learning(name: str, request: Request) -> dict[str, Any]:
    """Cancel the job of a voice; the recordings and the adapter stay as they are."""
    name = existing_voice(request, name)
    await in_thread(request.app.state.server.jobs.cancel, name)
    return await in_thread(describe_voice, name)


def checked_name(name: str) -> str:
    """A name that a voice may have, as the registry has it. Raises ApiError 400."""
    try:
        name = registry.check_name(name)
    except registry.BadName as error:
        raise bad_value("name", str(error)) from None
    if "@" in name:
        raise bad_value("name", "A name with @ is that of an earlier adapter.")
    return name


def check_voice(server: Server, client: Client, name: str) -> str:
    """As `Server.check_name`, of a name that a voice may have. Raises ApiError 403 where nobody may make
    adapters."""
    if not server.training:
        raise ApiError(403, "This server makes no adapters.", "forbidden")
    return server.check_name(checked_name(name), client)


def existing_voice(request: Request, name: str) -> str:
    """A voice that this client may change. Raises ApiError 404 where there is none, or it is another key's,
    which nothing tells."""
    if not request.app.state.server.training:
        raise ApiError(403, "This server makes no adapters.", "forbidden")
    if (name := checked_name(name)) not in voices_of(request.state.client):
        raise unknown_voice(name)
    return name


def unknown_voice(name: str) -> ApiError:
    message = f"There is no voice {name}, or you do not have access to it."
    return ApiError(404, message, "voice_not_found", "name")


def voices_of(client: Client) -> list[str]:
    """The names that have begun here, or have corrections, and that the client may change."""
    return [name for name in voice_names() if client.may_manage(name)]


def describe_voice(name: str) -> dict[str, Any]:
    """recordings, seconds, items (id, text, seconds), adapter, made, job (as `read_job`)."""
    stored = voice.read_store(name)
    items = [{"id": u.id, "text": u.text, "seconds": round(u.duration, 2)} for u in stored]
    record = {"name": name, "object": "voice", "recordings": len(items), "items": items}
    record |= {"seconds": round(sum(item["seconds"] for item in items), 2), "job": read_job(name) or None}
    return record | {"adapter": registry.is_registered(name), "made": bool(voice_record(name).get("made"))}


async def change_voice(request: Request, name: str, change: Callable, *arguments: Any) -> Any:
    """The result of a change of a voice that is there, and this client's, until it is made."""

    def locked() -> Any:
        with only_writer(name):
            existing_voice(request, name)
            return change(*arguments)

    return await in_thread(locked)


async def in_thread(change: Callable, *arguments: Any, **options: Any) -> Any:
    """The result of a change of a voice. Raises ApiError in the words of what is wrong; 409 while it
    learns, or is being deleted."""
    try:
        return await asyncio.to_thread(change, *arguments, **options)
    except StoreLocked as error:
        raise ApiError(409, public_reason(error), "learning", retry_after=5) from None
    except UserError as error:
        raise bad_value("file", public_reason(error)) from None
