"""Adapters over HTTP: POST, GET and DELETE /v1/adapters.

In: a name and the files of an adapter, in our format or PEFT's. Out: a registered adapter that is proven to
fit the base; the next request may use it. Only safetensors and other files of an adapter are accepted, by
their names: no uploaded content is ever run, and no name becomes a path.
"""

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel
from starlette.responses import Response

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import base_name
from ia3_speech.adapters.hub import copy_publishable
from ia3_speech.adapters.io import read_adapter
from ia3_speech.adapters.record import CARD, FILES, GATE, GUARD
from ia3_speech.adapters.spec import Term, term_at
from ia3_speech.common.errors import NameTaken, StoreLocked, UserError
from ia3_speech.routing.gate import channels_of, general_gate, read_adapters_gate
from ia3_speech.routing.guard import read_rule
from ia3_speech.serve.access import ANONYMOUS, Client
from ia3_speech.serve.errors import ApiError, bad_value, forbidden, overloaded, unknown_model
from ia3_speech.serve.forms import ClientOf, FormRoute, ServerOf
from ia3_speech.serve.state import Server
from ia3_speech.voices.store import only_writer

SHOWN = ("base", "placements", "parameters", "labels", "biometric", "scores", "created", "sha256")

router = APIRouter(route_class=FormRoute)


class AdapterForm(BaseModel):
    """The form of an upload."""

    name: str
    replace: bool = False
    files: list[UploadFile] = []


@router.post("/v1/adapters", status_code=201)
def store_adapter(form: Annotated[AdapterForm, File()], server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """Store an adapter: 409 if another adapter has the name, unless `replace` is true."""
    check_uploads(server)
    name = server.check_name(form.name, client)
    register_upload(server, client, name, form)
    server.engine.forget(name)
    return describe(server.models.adapter(name, ANONYMOUS))


@router.get("/v1/adapters")
def list_adapters(server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """The adapters that fit the base and that this key may use."""
    records = []
    for stored in server.models.adapters(client):
        with suppress(UserError, OSError):  # it has just been removed
            records.append(describe(stored))
    return {"object": "list", "data": records}


@router.get("/v1/adapters/{name}")
def show_adapter(name: str, server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """An adapter, with its card."""
    stored = server.models.adapter(name, client)
    with unknown_if_removed(name):
        card = stored.folder / CARD
        return describe(stored) | {"card": card.read_text("utf-8", "replace") if card.is_file() else None}


@router.get("/v1/adapters/{name}/download")
def download_adapter(name: str, server: ServerOf, client: ClientOf) -> Response:
    """The files of an adapter in a ZIP file; like `adapters push`, without language model and hot words."""
    stored, content = server.models.adapter(name, client), io.BytesIO()
    with tempfile.TemporaryDirectory() as copies, zipfile.ZipFile(content, "w") as archive:
        with unknown_if_removed(name), registry.without_writers():
            copy_publishable(stored.folder, Path(copies), stored.name)
        for file in sorted(Path(copies).iterdir()):
            archive.write(file, f"{stored.name}/{file.name}")
    return Response(content.getvalue(), media_type="application/zip")


@router.delete("/v1/adapters/{name}")
def remove_adapter(name: str, server: ServerOf, client: ClientOf) -> dict[str, Any]:
    """Remove an adapter from disk and memory."""
    check_uploads(server)
    stored = server.models.adapter(name, client)
    if not client.may_manage(stored.name):
        raise forbidden("This API key may use this adapter, but not remove it.")
    with unknown_if_removed(name):
        registry.remove(stored.name)
    server.engine.forget(stored.name)
    return {"id": stored.name, "object": "adapter", "deleted": True}


@contextmanager
def unknown_if_removed(name: str) -> Iterator[None]:
    """Raises ApiError 404 if the adapter has just been removed."""
    try:
        yield
    except (UserError, FileNotFoundError):
        raise unknown_model(name) from None


def check_uploads(server: Server) -> None:
    """Raises ApiError 403 if this server stores and removes no adapters."""
    if not server.limits.upload_adapters:
        raise forbidden("This server stores and removes no adapters.")


def register_upload(server: Server, client: Client, name: str, form: AdapterForm) -> None:
    """Write the files to a temporary folder, check them, and register the publishable files."""
    base = server.session.base
    with tempfile.TemporaryDirectory() as sent, tempfile.TemporaryDirectory() as clean:
        for upload in form.files:
            if upload.filename not in FILES:
                raise bad_value("files", f"An adapter's files are {', '.join(FILES)}.")
            with Path(sent, upload.filename).open("wb") as file:
                shutil.copyfileobj(upload.file, file)
        if not registry.is_adapter(Path(sent)):
            raise bad_value("files", "An adapter is its tensors (.safetensors) and a file on them.")
        folder = Path(clean)
        try:
            copy_publishable(Path(sent), folder, name, base.name)
            json.dumps(registry.describe_adapter(folder), allow_nan=False)  # as in the API's answers
            if (folder / GATE).is_file():
                read_adapters_gate(folder, base, general_gate(base, channels_of(base)))
            if (folder / GUARD).is_file():
                read_rule(folder, base.fingerprint)
            with server.engine.computing:  # since `read_adapter` reads the model's modules
                read_adapter(base.model, term_at(name, folder))
        except Exception as error:  # uploaded files may be wrong in any way
            known = isinstance(error, UserError)
            reason = str(error).replace(sent, name).replace(clean, name) if known else type(error).__name__
            raise bad_value("files", f"The files are not an adapter of this base: {reason}") from None
        try:
            with only_writer(registry.VERSION.sub("", name)):
                server.check_name(name, client)  # another key's voice may have begun meanwhile
                registry.register(folder, name, force=form.replace, sender="HTTP")
        except NameTaken:
            message = f"Another adapter has the name {name} (remove it first, or send replace=true)."
            raise ApiError(409, message, "name_taken", "name") from None
        except StoreLocked:
            raise
        except UserError as error:  # a full disk
            raise overloaded("The server can't store adapters at the moment.") from error


def describe(stored: Term) -> dict[str, Any]:
    """The record of an adapter, as `ia3-speech adapters show` prints it, without paths."""
    record = registry.describe_adapter(stored.folder)
    if "base" in record:
        record["base"] = base_name(record["base"])
    return {"id": stored.name, "object": "adapter"} | {key: record[key] for key in SHOWN if key in record}
