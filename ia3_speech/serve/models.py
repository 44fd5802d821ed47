"""The `model` of a request: the base, an adapter, a sum such as `accent:0.5+medical:0.5`, or `auto`.

In: the name in a request, and the rights of its key. Out: an `AdapterSpec`. Only registered names are
accepted, never a path, an experiment or a name on the Hub.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from transformers.models.whisper.tokenization_whisper import LANGUAGES

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import GATE, is_ours, same_base
from ia3_speech.adapters.spec import (
    AdapterSpec,
    Term,
    choosable_adapters,
    find_registered,
    is_auto,
    parse_choice,
    parse_sum,
)
from ia3_speech.common.errors import UserError
from ia3_speech.serve.access import Client
from ia3_speech.serve.errors import ApiError, bad_value, unknown_model
from ia3_speech.session import Session, is_guarded

MAX_NAME = 256  # characters of a sum
# ISO 639-1 code → English name, from Whisper's table, as in OpenAI's verbose_json
LANGUAGE_NAMES = {code: name for code, name in LANGUAGES.items() if len(code) == 2}


class Models:
    """The base and the registered adapters that fit it."""

    def __init__(self, session: Session, max_terms: int, aliases: Mapping[str, str]):
        self.session, self.base, self.max_terms = session, session.base, max_terms
        self.aliases = aliases  # further name → model
        # The base's name for clients; for a folder, the last part of its path.
        self.base_id = Path(self.base.name).name if Path(self.base.name).is_dir() else self.base.name

    def select(self, name: str, client: Client, guard: bool | None = None) -> AdapterSpec:
        """The adapters of a model's name, with a request's wish for a guard. Raises ApiError: 404 if this
        client has no such model."""
        if name == self.base_id:
            return AdapterSpec()
        if target := self.aliases.get(name):
            try:
                return self.select(target, client, guard)
            except ApiError:  # its message may contain a name that this client can't use
                raise unknown_model(name) from None
        if len(name) > MAX_NAME:
            raise unknown_model(name)

        def find(part: str) -> Term | None:
            return find_registered(part) if client.may_use(part) else None

        def unknown(_: str, expression: str) -> ApiError:
            return unknown_model(expression)

        try:
            if is_auto(name):
                spec = parse_choice(name, find, unknown, lambda: self.choosable(client))
            else:
                spec = parse_sum(name, find, unknown)
        except UserError as error:  # a weight that is not a number; for auto, it may name a folder
            raise no_choice(name) if is_auto(name) else bad_value("model", str(error)) from None
        if len(spec.terms) > self.max_terms and not spec.choice:
            raise bad_value("model", f"A sum of more than {self.max_terms} adapters is not computed here.")
        if others := [term.name for term in spec.terms if not self.fits(term)]:
            raise bad_value("model", f"{others[0]} was trained on another base than {self.base_id}.")
        if spec.choice:
            try:
                self.session.gates(spec)
            except UserError:  # its message may name a folder
                raise no_choice(name) from None
        spec = replace(spec, guard=guard)
        try:
            is_guarded(spec)
        except UserError:
            message = "A guard chooses between the base and one adapter, or by auto, where both have gates."
            raise bad_value("guard", f"{name} can't be guarded. {message}") from None
        return spec

    def choosable(self, client: Client) -> list[Term]:
        """The adapters that `auto` chooses from for a client."""
        terms = (term for term in choosable_adapters() if (term.folder / GATE).is_file())
        return [term for term in terms if client.may_use(term.name) and self.fits(term)]

    def usable_aliases(self, client: Client) -> Iterator[str]:
        """The further names of models that the client may use."""
        for name in self.aliases:
            with suppress(ApiError):
                self.select(name, client)
                yield name

    def adapters(self, client: Client) -> list[Term]:
        """The adapters that fit the base and that the client may use, by name."""
        terms = [find_registered(name) for name in registry.registered_names() if client.may_use(name)]
        return [term for term in terms if term and self.fits(term)]

    def adapter(self, name: str, client: Client) -> Term:
        """An adapter that fits the base and that the client may use. Raises ApiError 404."""
        term = find_registered(name) if client.may_use(name) else None
        if term is None or not self.fits(term):
            raise unknown_model(name)
        return term

    def fits(self, term: Term) -> bool:
        """Whether an adapter was trained on this base; another tool's adapter is compared when it is
        loaded."""
        if term.fault:
            return False
        fingerprint = term.record.get("fingerprint", {})
        return not is_ours(term.record) or same_base(fingerprint, self.base.fingerprint)


def no_choice(name: str) -> ApiError:
    message = (
        "needs a base and adapters with a gate (a person's adapter by auto:NAME, or with their consent)."
    )
    return bad_value("model", f"{name}: the choice by audio {message}")


def language_code(language: str) -> str:
    """`en` or `en-GB` → `en`, ISO 639-1. Raises ApiError for anything else."""
    code = language.strip().lower().replace("_", "-").partition("-")[0]
    if code not in LANGUAGE_NAMES:
        message = f"Invalid language '{language[:40]}'. Language parameter must be specified in ISO-639-1 "
        raise ApiError(400, f"{message}format.", "invalid_language_format", "language")
    return code
