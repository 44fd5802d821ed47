"""Errors in OpenAI's shape.

    {"error": {"message": "…", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}

A message contains no path of the server, no text, and no name that the client has neither sent nor may use.
"""

import errno
import logging
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from ia3_speech.adapters import registry
from ia3_speech.common.errors import BadName, StoreLocked, UserError
from ia3_speech.serve.engine import EngineClosed

logger = logging.getLogger(__name__)

CLIENT_LEFT = 499  # nginx's status; only the log shows it


@dataclass(eq=False)
class ApiError(HTTPException):
    """An error for the client. As an HTTPException it passes through FastAPI."""

    status: int  # of HTTP
    message: str
    code: str | None = None  # OpenAI's code, which clients evaluate
    param: str | None = None  # the field of the request that is wrong
    retry_after: float = 0.0  # seconds after which the same request may succeed

    def __post_init__(self) -> None:
        super().__init__(self.status, self.message)

    def body(self) -> dict[str, Any]:
        """The JSON body that OpenAI's clients parse."""
        kind = "requests" if self.status == 429 else "invalid_request_error"
        kind = "server_error" if self.status >= 500 else kind
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        return JSONResponse(self.body(), self.status, headers)


def bad_value(param: str, message: str) -> ApiError:
    return ApiError(400, message, "invalid_value", param)


def forbidden(message: str) -> ApiError:
    return ApiError(403, message, "forbidden")


def invalid(error: ValidationError | RequestValidationError, prefix: str = "") -> ApiError:
    """The first error that pydantic reports."""
    first = error.errors()[0]
    names = [part for part in first["loc"] if not isinstance(part, int)]
    param = prefix + ".".join(names[isinstance(error, RequestValidationError) :])  # without "body"
    return bad_value(param, f"{param}: {first['msg'].removeprefix('Value error, ')}.")


def unknown_model(name: str) -> ApiError:
    """The same error for a model that does not exist and a model that the key may not use."""
    message = f"The model `{name[:200]}` does not exist or you do not have access to it."
    return ApiError(404, message, "model_not_found", "model")


def overloaded(message: str) -> ApiError:
    return ApiError(503, message, "overloaded", retry_after=2)


def public_reason(error: UserError) -> str:
    """The message of an error, without the folder in which this server keeps its files."""
    return str(error).replace(str(registry.home()), "…")


def api_error(error: Exception) -> ApiError | None:
    """The answer to an error; None for a defect of the server."""
    match error:
        case ApiError():
            return error
        case RequestValidationError():
            return invalid(error)
        case StoreLocked():
            return ApiError(409, public_reason(error), "learning", retry_after=5)
        case UserError():
            return bad_value("name" if isinstance(error, BadName) else "file", public_reason(error))
        case EngineClosed():
            return overloaded("The server is shutting down.")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EROFS):
            logger.error("nothing can be stored: %s", error.strerror)
            return overloaded("The server can't store anything at the moment.")
    return None


INTERNAL = ApiError(500, "The server had an error while processing your request.", "internal_error")
