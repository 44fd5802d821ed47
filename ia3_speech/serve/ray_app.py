"""The server on a Ray cluster (extra `ray`): a single HTTP API, and a replica for each GPU.

    serve run ia3_speech.serve.ray_app:app                          a replica on CPUs
    serve run ia3_speech.serve.ray_app:app gpus=1 max_replicas=8    docs/deploy.md, for Kubernetes too

    a client → Ray's proxy → Frontend       the application of `app.py`: forms, audio, searches, sessions
                                └→ Replica  the queue and the bank, a GPU each: waves → logits

In: options as NAME=VALUE. Out: a Ray Serve application. Ray sends the pieces of a request to a replica that
has its adapters (`serve.multiplexed`). When a replica ends, another replica repeats its requests.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import RequestCancelledError
from ray.serve.handle import DeploymentHandle, DeploymentResponse
from starlette.types import ASGIApp
from torch import Tensor

from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.cache import Terms
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.serve.app import make_app
from ia3_speech.serve.engine import ClientLeft, Engine, EngineClosed, QueueHandle
from ia3_speech.serve.errors import invalid
from ia3_speech.serve.monitoring import Metrics
from ia3_speech.serve.options import EngineOptions, LimitOptions, ServerOptions, check
from ia3_speech.serve.state import Server
from ia3_speech.session import load

logger = logging.getLogger(__name__)

TRIES = 4  # replicas that may end during a request
QUIET = {"enable_access_log": False}  # it would contain the names of adapters


@dataclass(frozen=True)
class RayOptions(ServerOptions, EngineOptions, LimitOptions, SearchOptions):
    """All options of `ia3-speech serve`, the GPUs of a replica, and the number of replicas."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    host: str = "0.0.0.0"  # Ray's proxy listens
    gpus: float = 0.0
    min_replicas: int = 1
    max_replicas: int = 4


@serve.deployment(logging_config=QUIET)
class Replica:
    """A base, a bank and its queue."""

    def __init__(self, options: EngineOptions):
        base = load(search=SearchOptions(search="greedy"), **options.for_loading()).recognizer.base
        self.engine = Engine(Bank(base), options, Metrics())

    async def logits(self, waves: Sequence[np.ndarray], terms: Terms) -> list[Tensor]:
        """As `QueueHandle.logits`, for waves with the same terms."""
        if model := serve.get_multiplexed_model_id():
            await self.place(model)
        handle = QueueHandle(self.engine)
        try:
            handle.futures = [self.engine.submit(wave, terms, handle) for wave in waves]
            return await asyncio.gather(*map(asyncio.wrap_future, handle.futures))
        finally:
            handle.cancel()

    @serve.multiplexed(max_num_models_per_replica=EngineOptions.max_adapters)
    async def place(self, model: str) -> str:
        """Tell Ray that this replica has these adapters, which the engine loads between two batches."""
        return model

    def loaded(self) -> list[str]:
        """The names of the adapters in the bank."""
        return [term.name for term in self.engine.cache.loaded.values()]

    def check_health(self) -> None:
        """Called by Ray every few seconds: an ended engine raises; removed adapters are unloaded."""
        if not self.engine.alive:
            raise EngineClosed
        self.engine.forget_removed()


class RemoteHandle:
    """A request's place in the queues of replicas, like `QueueHandle` in the queue of an engine."""

    def __init__(self, replicas: DeploymentHandle):
        self.replicas, self.cancelled = replicas, False
        self.response: DeploymentResponse | None = None

    def cancel(self) -> None:
        self.cancelled = True
        if self.response:
            self.response.cancel()

    def logits(self, waves: Sequence[np.ndarray], rows: Sequence[Terms]) -> list[Tensor]:
        """As `QueueHandle.logits`; blocks, in a thread of the request."""
        logits = {}
        for terms in dict.fromkeys(rows):
            numbers = [number for number, row in enumerate(rows) if row == terms]
            logits |= zip(numbers, self.logits_with(terms, [waves[n] for n in numbers]), strict=True)
        return [logits[number] for number in range(len(waves))]

    def logits_with(self, terms: Terms, waves: Sequence[np.ndarray]) -> list[Tensor]:
        """A tensor for each wave, from a replica that has these adapters."""
        model = "+".join(f"{term.name}:{term.weight!r}" for term in terms)
        terms = tuple(replace(term, record={}) for term in terms)  # a record may list thousands of utterances
        replicas = self.replicas.options(multiplexed_model_id=model)
        for _ in range(TRIES):
            if self.cancelled:
                raise ClientLeft
            self.response = replicas.logits.remote([*waves], terms)
            try:
                return self.response.result()
            except (RequestCancelledError, CancelledError):
                raise ClientLeft from None
            except (RayActorError, EngineClosed) as error:
                logger.warning("a replica has ended, and another takes over: %r", type(error))
        raise EngineClosed


@serve.deployment(logging_config=QUIET)
@serve.ingress()
class Frontend:
    """The application; the replicas compute its logits."""

    def __init__(self, replicas: DeploymentHandle, options: RayOptions):
        session = load(search=options, **options.for_loading() | {"device": "cpu"}).session
        self.server = Server(session, options, options, options)
        self.server.make_handle = partial(RemoteHandle, replicas)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return make_app(self.server)


def app(arguments: dict[str, Any]) -> serve.Application:
    """The application of options by name. Raises UserError for an unknown option or a wrong value."""
    try:
        options = TypeAdapter(RayOptions).validate_python(arguments)
    except ValidationError as error:
        raise UserError(invalid(error).message) from None
    check(options)
    scale = {"min_replicas": options.min_replicas, "max_replicas": options.max_replicas}
    most, gpus = options.max_requests, {"num_gpus": options.gpus}
    replicas = Replica.options(max_ongoing_requests=most, ray_actor_options=gpus, autoscaling_config=scale)
    return Frontend.options(max_ongoing_requests=2 * most).bind(replicas.bind(options), options)
