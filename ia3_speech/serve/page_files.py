"""The page at `/`: static files below serve/page, and a policy by which nothing else is loaded or run.

In: a GET. Out: a file of the package, named in FILES. The page asks for the rest at /v1 (`voices_api`).
"""

from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

FOLDER = Path(__file__).parent / "page"
SAMPLE = FOLDER.parents[1] / "out_of_domain/librispeech_dev/audio/1462-170138-0012.ogg"
FILES = {path.name: path for path in FOLDER.iterdir()} | {"sample.ogg": SAMPLE}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    """The page."""
    return await page_file("index.html")


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    """What the page loads. No name becomes a path."""
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(FILES[name], headers=HEADERS, media_type=TYPES.get(FILES[name].suffix, "audio/ogg"))
