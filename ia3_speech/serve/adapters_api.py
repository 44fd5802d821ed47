"""Adapters over HTTP: POST, GET and DELETE /v1/adapters.

In: a name and the files of an adapter, ours or PEFT's. Out: a registered adapter that is proven to fit the
base, which the next request may use. Only the names of an adapter's files are taken, and only safetensors:
nothing that is sent is ever run, and no name of it becomes a path.
"""

import asyncio
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.responses import Response

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import base_name
from ia3_speech.adapters.hub import copy_publishable
from ia3_speech.adapters.io import read_adapter
from ia3_speech.adapters.record import CARD, FILES, GATE
from ia3_speech.adapters.spec import Term
from ia3_speech.commands.adapters import describe_adapter
from ia3_speech.corrections.store import only_writer
from ia3_speech.errors import StoreLocked, UserError
from ia3_speech.routing.gate import channels_of, read_gate
from ia3_speech.serve.access import ANYBODY, Client
from ia3_speech.serve.engine import EngineClosed
from ia3_speech.serve.errors import ApiError, bad_value, overloaded, unknown_model
from ia3_speech.serve.openai_api import FILE, fields_of, form_description, read_form
from ia3_speech.serve.state import Server

SHOWN = ("base", "placements", "parameters", "labels", "biometric", "scores", "created", "sha256")

router = APIRouter()


class AdapterForm(BaseModel):
    """The fields of an upload, but for the files."""

    name: str
    replace: bool = False


BODY = form_description(AdapterForm, files={"type": "array", "items": FILE})


@router.post("/v1/adapters", status_code=201, openapi_extra=BODY)
async def store_adapter(request: Request) -> dict[str, Any]:
    """Store an adapter: 409 where another one has the name, unless `replace` is true."""
    server: Server = request.app.state.server
    check_may_manage(server, request.state.client)
    async with read_form(request, max_files=len(FILES)) as (_, form):
        wanted = fields_of(form, AdapterForm)
        name = server.check_name(wanted.name, request.state.client)
        uploads = [*form.getlist("files"), *form.getlist("files[]")]
        upload = server, request.state.client, name, uploads, wanted.replace
        return describe(await asyncio.to_thread(register_upload, *upload))


@router.get("/v1/adapters")
async def list_adapters(request: Request) -> dict[str, Any]:
    """Those that fit the base and that this key may use."""
    server: Server = request.app.state.server
    found = await asyncio.to_thread(server.models.adapters, request.state.client)
    return {"object": "list", "data": await asyncio.to_thread(lambda: [*describe_all(found)])}


@router.get("/v1/adapters/{name}")
async def show_adapter(name: str, request: Request) -> dict[str, Any]:
    """One of these, with its card."""
    stored = await asyncio.to_thread(request.app.state.server.models.adapter, name, request.state.client)
    card = stored.folder / CARD
    if not (told := next(describe_all([stored]), None)):
        raise unknown_model(name)
    return told | {"card": card.read_text("utf-8", "replace") if card.is_file() else None}


@router.get("/v1/adapters/{name}/download")
async def download_adapter(name: str, request: Request) -> Response:
    """The files of one of these, in a ZIP file; as `adapters push`, without language model and hot words."""
    stored = await asyncio.to_thread(request.app.state.server.models.adapter, name, request.state.client)
    try:
        return Response(await asyncio.to_thread(zipped, stored), media_type="application/zip")
    except FileNotFoundError:  # it has just been removed
        raise unknown_model(name) from None


@router.delete("/v1/adapters/{name}")
async def remove_adapter(name: str, request: Request) -> dict[str, Any]:
    """Remove an adapter from disk and memory."""
    server: Server = request.app.state.server
    check_may_manage(server, request.state.client)
    stored = await asyncio.to_thread(server.models.adapter, name, request.state.client)
    if not request.state.client.may_manage(stored.name):
        raise ApiError(403, "This API key may use this adapter, but not remove it.", "forbidden")
    try:
        await asyncio.to_thread(registry.remove, stored.name)
    except registry.UnknownAdapter:  # somebody else was faster
        raise unknown_model(name) from None
    await asyncio.to_thread(server.engine.call(partial(server.cache.forget, stored.name)).result)
    return {"id": stored.name, "object": "adapter", "deleted": True}


def check_may_manage(server: Server, client: Client) -> None:
    """Raises ApiError 403 for a client that may not store and remove adapters."""
    if not server.limits.upload_adapters:
        raise ApiError(403, "This server stores and removes no adapters.", "forbidden")
    if not client.manage:
        raise ApiError(403, "This API key may not store or remove adapters.", "forbidden")


def register_upload(server: Server, client: Client, name: str, uploads: list[Any], replace: bool) -> Term:
    """Write the files to a folder of their own, check what they are, and register them as they may be."""
    base = server.bank.base
    with tempfile.TemporaryDirectory() as sent, tempfile.TemporaryDirectory() as clean:
        for upload in uploads:
            if not isinstance(upload, UploadFile) or upload.filename not in FILES:
                raise bad_value("files", f"An adapter's files are {', '.join(FILES)}.")
            with Path(sent, upload.filename).open("wb") as file:
                shutil.copyfileobj(upload.file, file)
        if not registry.is_adapter(Path(sent)):
            raise bad_value("files", "An adapter is its tensors (.safetensors) and a file on them.")
        folder = Path(clean)
        try:
            copy_publishable(Path(sent), folder, name, base.name)
            # As it will be told
            json.dumps(describe_adapter(folder), allow_nan=False)
            if (folder / GATE).is_file():
                read_gate(folder, base.fingerprint, "", channels_of(base))
            # Between batches, since the model's modules are read.
            server.engine.call(lambda: read_adapter(base.model, folder)).result()
        except EngineClosed:
            raise overloaded("The server is shutting down.") from None
        except Exception as error:  # uploaded files may be wrong in any way
            known = isinstance(error, UserError)
            reason = str(error).replace(sent, name).replace(clean, name) if known else type(error).__name__
            raise bad_value("files", f"The files are not an adapter of this base: {reason}") from None
        try:
            with only_writer(registry.KEPT.sub("", name)):
                server.check_name(name, client)  # another key's voice may have begun meanwhile
                registry.register(folder, name, force=replace, sender="HTTP")
        except StoreLocked as error:
            raise ApiError(409, str(error), "learning", retry_after=5) from None
        except registry.NameTaken:
            message = f"Another adapter has the name {name} (remove it first, or send replace=true)."
            raise ApiError(409, message, "name_taken", "name") from None
        except UserError as error:  # a full disk
            raise overloaded("The server can't store adapters at the moment.") from error
    server.engine.call(partial(server.cache.forget, name)).result()
    return server.models.adapter(name, ANYBODY)


def zipped(stored: Term) -> bytes:
    """The adapter's files as a ZIP file."""
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as copies, zipfile.ZipFile(content, "w") as archive:
        with registry.without_writers():
            copy_publishable(stored.folder, Path(copies), stored.name)
        for file in sorted(Path(copies).iterdir()):
            archive.write(file, f"{stored.name}/{file.name}")
    return content.getvalue()


def describe_all(found: Iterable[Term]) -> Iterator[dict[str, Any]]:
    """Without those that are removed meanwhile."""
    for stored in found:
        with suppress(UserError, OSError):
            yield describe(stored)


def describe(stored: Term) -> dict[str, Any]:
    """What `ia3-speech adapters show` says of it, without paths."""
    entry = describe_adapter(stored.folder)
    if "base" in entry:
        entry["base"] = base_name(entry["base"])
    return {"id": stored.name, "object": "adapter"} | {key: entry[key] for key in SHOWN if key in entry}
