"""Voices: names under which recordings of people, and adapters trained on them, are stored.

    ia3-speech voices list
    ia3-speech voices remove dr-01      when a person leaves: deletes everything

A voice is begun on the page of `ia3-speech serve`, or by `ia3-speech corrections`. Copies elsewhere stay: a
data directory in an experiment, a pushed adapter, the files of `train --replay`.
"""

from ia3_speech.adapters import registry
from ia3_speech.errors import UserError
from ia3_speech.formatting import in_columns

COLUMNS = ("VOICE", "OWNER", "RECORDINGS", "ADAPTERS")


def list_stored() -> None:
    """List the voices: name, the name of the key that it belongs to, recordings, adapters."""
    from ia3_speech.corrections.store import recordings_of, versions_of, voice_names, voice_record

    rows = []
    for name in voice_names():
        try:
            owner = voice_record(name).get("owner") or "-"
        except UserError:
            owner = "(damaged)"
        rows.append((name, str(owner), str(len(recordings_of(name))), ",".join(versions_of(name)) or "-"))
    if rows:
        print(*in_columns([COLUMNS, *rows], left=(0, 1, 3)), sep="\n")
    else:
        print(f"no voice is stored in {registry.home()}")


def remove(name: str) -> None:
    """Delete everything of a name: recordings, texts, adapters, jobs. Its training is interrupted.

    `corrections remove NAME` deletes only the recordings, and `adapters remove NAME` an adapter.

    Args:
        name: a voice, or an adapter.
    """
    from ia3_speech.corrections.store import remove_voice

    print(remove_voice(name))


COMMAND = {"list": list_stored, "remove": remove}
