"""The errors that a user can put right: a command prints one as a line `error: …` and exits with code 1."""


class UserError(Exception):
    """Something the user can put right. The message names the file, the line and a hint."""


class DataError(UserError):
    """A data directory that cannot be used as it is. The message names file, line and a hint."""


class AudioError(UserError):
    """Audio that cannot be used. The message names the file (and the utterance) and a hint."""


class TooLong(UserError):
    """A recording that is longer than its reader allows, or has too many channels for its length."""


class TextError(UserError):
    """Text that cannot be written in the base's vocabulary."""


class BaseError(UserError):
    """A base that cannot be found, loaded or used."""


class AdapterError(UserError):
    """An adapter that does not fit, has no effect, or cannot be attached."""


class UnknownAdapter(UserError):
    """No adapter has this name or path."""


class BadName(UserError):
    """A name that an adapter cannot have."""


class NameTaken(UserError):
    """An adapter is registered under this name already."""


class HubError(UserError):
    """A request to the Hub that failed. `reason` is the message without the repository."""

    def __init__(self, repo: str, reason: str):
        super().__init__(f"{repo}: {reason}")
        self.reason = reason


class SearchError(UserError):
    """Logits from which no text can be decoded."""


class TrainingError(UserError):
    """Training cannot start or continue. What was saved before is kept."""


class StoreLocked(UserError):
    """Another command is changing the corrections of this name, or deleting them."""
