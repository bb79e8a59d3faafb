"""What files to be shared do not say: who the patients are, and where things lie on this disk."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from nodulenet.errors import UsageError

KEY_VARIABLE = "NODULENET_KEY_FILE"
"""Environment variable with another place for the key."""

PATH = "(path)"
"""What stands where a path stood."""

_KEY_BYTES = 32
_PART = r"[^\s/\\:;,'\"<>()\[\]{}|]"
# One letter alone, as in "per /s", is a folder only where something follows.
_ABSOLUTE = re.compile(
    rf"(?<![\w.:/\\<])(?:file:/*|~|[A-Za-z]:)?[/\\]+(?:{_PART}{{2,}}|{_PART}(?=[/\\]))"
    rf"(?:[/\\]+{_PART}+)*[/\\]?"
)
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
        try:
            os.link(name, file)
        except FileExistsError:
            pass
        except OSError:
            # Some file systems have no links; there a second process might win by a moment.
            if not file.exists():
                Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)


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


def is_pseudonym(name: str) -> bool:
    """Whether a name is a pseudonym, of whatever key."""
    return _PSEUDONYM.fullmatch(name) is not None


def scan_places(path: Path | str) -> dict[Path, str]:
    """What messages about a scan call its path, and the folder in which a file of it lies."""
    own = Path(path)
    places = {own: "the scan"} if own.is_dir() else {own: "the scan", own.parent: "its folder"}
    return {**places, **{place.absolute(): name for place, name in places.items()}}


def without_places(text: str, places: Mapping[Path, str]) -> str:
    """A message in which paths are called by other names: folders and files are named after people.

    Known paths and what lies below them get the name that is given; other absolute paths become
    :data:`PATH`. A message that begins with a path and a colon begins after them. Of a path with
    spaces, what follows the first space below a known one stays, unless the message begins with it.

    Args:
        text: the message.
        places: what each path is called instead. Relative ones of a single word, as ``data``, are
            not looked for: they stand for other things, too.
    """
    for place in sorted(places, key=lambda p: -len(str(p))):
        if not (place.is_absolute() or len(place.parts) > 1):
            continue
        if not place.name:  # the root
            continue
        known = rf"(?<![\w./\\-]){re.escape(str(place))}"
        text = re.sub(rf"^{known}(?:[/\\][^:\n]*)?: ", "", text)
        name = places[place].replace("\\", r"\\")
        text = re.sub(rf"{known}(?:[/\\][^:,;\s'\")]*)?(?![\w.-]*\w)", name, text)
    return _ABSOLUTE.sub(PATH, text)
