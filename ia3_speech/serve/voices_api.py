"""Voices."""

from typing import Any

from fastapi import APIRouter, Request

from ia3_speech.serve.state import Server

router = APIRouter()


@router.get("/v1/voices")
async def list_voices(request: Request) -> dict[str, Any]:
    """What this key may see."""
    server: Server = request.app.state.server
    return {
        "base": server.models.base_id,
        "language": server.language,
        "training": server.training,
        "data": [],
    }
