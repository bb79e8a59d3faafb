"""What files to be shared do not say: who the patients are, and where things lie on this disk."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from nodulenet.errors import UsageError

KEY_VARIABLE = "NODULENET_KEY_FILE"
"""Environment variable with another place for the key."""

_KEY_BYTES = 32
_SHORTEST_PLACE = 3
"""Letters of a path that are looked for at least: "." and "/" stand everywhere."""
_PSEUDONYM = re.compile(r"[a-z]-[0-9a-f]{20}")


def key_file() -> Path:
    """Where this user's key lies: :data:`KEY_VARIABLE`, else the folder of user settings."""
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return Path(given)
    import typer

    return Path(typer.get_app_dir("nodulenet")) / "pseudonyms.key"


def user_key() -> bytes:
    """This user's key; made at random, readable by the user alone, where there is none yet.

    Raises:
        UsageError: it cannot be read or made, or is no key.
    """
    file = key_file()
    remedy = (
        f"name a file that can be written in {KEY_VARIABLE}, or keep the ids of public data "
        f"(--keep-ids, source.keep_ids=true)"
    )
    try:
        if not file.exists():
            _make(file)
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file}: no key of pseudonyms can be kept there ({error}); {remedy}"
        ) from error
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _KEY_BYTES}}}", text):
        raise UsageError(
            f"{file}: holds no key of pseudonyms; expected {2 * _KEY_BYTES} hexadecimal digits; "
            f"name another file in {KEY_VARIABLE}, or remove it: patients then get new pseudonyms"
        )
    return bytes.fromhex(text)


def _make(file: Path) -> None:
    """A new key, whole or not at all; the one of another process, if that was faster."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp's files are readable by their owner alone.
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()


def pseudonym(name: str, key: bytes, kind: str = "p") -> str:
    """A pseudonym: a letter and 20 hexadecimal digits; one of ours stays as it is.

    Without the key nobody can test a guess; with it, equal names have equal pseudonyms in every
    table that this user makes.

    Args:
        name: of the patient, or of something else.
        key: of :func:`user_key`.
        kind: the letter. Defaults to that of patients.

    Source: RFC 7693 (BLAKE2), keyed hashing.
    """
    if _PSEUDONYM.fullmatch(name):
        return name
    return f"{kind}-{hashlib.blake2b(name.encode(), key=key, digest_size=10).hexdigest()}"


def known_pseudonyms(names: Iterable[str]) -> dict[str, str]:
    """Pseudonyms by this user's key, without making one: nothing where there is none."""
    if not key_file().is_file():
        return {}
    key = user_key()
    return {name: pseudonym(name, key) for name in names}


def without_places(text: str, places: Mapping[Path, str]) -> str:
    """A message in which known paths, and what lies below them, are called by other names.

    Folders and files are named after patients. A message that begins with such a path and a colon
    begins after them. Of a path with spaces below a known one, what follows the first space stays,
    unless the message begins with it.

    Args:
        text: the message.
        places: what each path is called instead.
    """
    for place in sorted(places, key=lambda p: -len(str(p))):
        if len(str(place)) < _SHORTEST_PLACE:
            continue
        known = re.escape(str(place))
        text = re.sub(rf"^{known}(?:[/\\][^:\n]*)?: ", "", text)
        name = places[place].replace("\\", r"\\")
        text = re.sub(rf"{known}(?:[/\\][^:,;\s'\")]*)?(?![\w.-]*\w)", name, text)
    return text
