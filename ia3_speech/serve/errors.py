"""Errors in OpenAI's shape.

    {"error": {"message": "…", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}

In: what went wrong. Out: a response, or an event of a stream. Messages hold no path of the server, no text,
and no name that the caller has neither sent nor may use.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

CLIENT_LEFT = 499  # nginx's status; nobody reads it but the log


@dataclass(eq=False)
class ApiError(Exception):
    """An error that is told to the client."""

    status: int  # of HTTP
    message: str
    code: str | None = None  # OpenAI's word for it, by which clients decide
    param: str | None = None  # the field of the request that it is about
    retry_after: float = 0.0  # seconds after which the same request may succeed

    def body(self) -> dict[str, Any]:
        """What OpenAI's clients parse."""
        kind = "requests" if self.status == 429 else "invalid_request_error"
        kind = "server_error" if self.status >= 500 else kind
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        return JSONResponse(self.body(), self.status, headers)


def bad_value(param: str, message: str) -> ApiError:
    """A field that cannot be meant."""
    return ApiError(400, message, "invalid_value", param)


def invalid(error: ValidationError, prefix: str = "") -> ApiError:
    """The first of the faults that pydantic has found."""
    first = error.errors()[0]
    param = prefix + ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    return bad_value(param, f"{param}: {first['msg'].removeprefix('Value error, ')}.")


def unknown_model(name: str) -> ApiError:
    """The same for a model that is not there and for one that the key may not use."""
    message = f"The model `{name[:200]}` does not exist or you do not have access to it."
    return ApiError(404, message, "model_not_found", "model")


def overloaded(message: str) -> ApiError:
    return ApiError(503, message, "overloaded", retry_after=2)


INTERNAL = ApiError(500, "The server had an error while processing your request.", "internal_error")
