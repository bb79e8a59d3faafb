"""JSON that other programs wrote: what is wrong is named by file and line, or file and field.

Standard: RFC 8259. NaN and Infinity are no JSON (Python reads them all the same) and no places
in a patient; a name that an object holds twice is ambiguous. Both are refused.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from nodulenet.errors import FindingsError

MAX_FILE_BYTES = 256 * 2**20
"""Detections of all LUNA16 scans, written with line breaks, take about 140 MiB."""

_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(-?Infinity|NaN)', re.DOTALL)
_SHOWN = 60


class _DoubleNameError(ValueError):
    pass


class _ConstantError(ValueError):
    pass


def read_json(path: str | Path, expected: str) -> Any:
    """The values of a JSON file (objects as dict, arrays as list).

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        expected: what it should hold, for errors.

    Raises:
        FindingsError: no file, larger than :data:`MAX_FILE_BYTES`, no UTF-8, no JSON (with line
            and column), NaN or Infinity, a name twice in one object, or nested too deeply.
    """
    file = Path(path)
    if not file.is_file():
        raise FindingsError(f"{file}: there is no such file; expected {expected}")
    text = _text(file, expected)
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise FindingsError(
            f"{file}: {reason}; expected JSON with {expected}; save it again"
        ) from None
    except _ConstantError as error:
        raise FindingsError(
            f"{file}: line {_line_of_constant(text)}: found {error}, which is no JSON number; "
            "correct or remove the entry"
        ) from None
    except _DoubleNameError as error:
        raise FindingsError(
            f"{file}: an object holds the name {error} twice; expected each name once; save the "
            "file again"
        ) from None
    except RecursionError:
        raise FindingsError(
            f"{file}: is nested too deeply; expected JSON with {expected}; save it again"
        ) from None
    except ValueError:  # a whole number of more digits than Python converts
        raise FindingsError(
            f"{file}: holds a number of thousands of digits; expected millimetres; save it again"
        ) from None


def refuse(file: str | Path, field: str, value: Any, expected: str, remedy: str) -> NoReturn:
    """Raise for one field of the file."""
    where = f"{field}: " if field else ""
    raise FindingsError(f"{file}: {where}found {shown(value)}, expected {expected}; {remedy}")


def members(file: str | Path, field: str, value: Any) -> dict[str, Any]:
    """The value as an object, or FindingsError."""
    if not isinstance(value, dict):
        refuse(file, field, value, "an object {...}", "correct the file or export it again")
    return value


def items(file: str | Path, field: str, value: Any) -> list[Any]:
    """The value as an array, or FindingsError."""
    if not isinstance(value, list):
        refuse(file, field, value, "an array [...]", "correct the file or export it again")
    return value


def number(file: str | Path, field: str, value: Any) -> float:
    """The value as a finite number, or FindingsError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if math.isfinite(result):
            return result
    refuse(file, field, value, "a finite number", "correct or remove the entry")


def numbers(file: str | Path, field: str, value: Any, count: int, names: str) -> list[float]:
    """The value as an array of ``count`` finite numbers, or FindingsError."""
    found = items(file, field, value)
    if len(found) != count:
        refuse(file, field, value, f"{count} numbers ({names})", "correct or remove the entry")
    return [number(file, f"{field}[{i}]", part) for i, part in enumerate(found)]


def text(value: Any) -> str:
    """What a person typed, as one line that every encoding can hold; empty where it is no text."""
    if not isinstance(value, str):
        return ""
    # A JSON string may hold half a surrogate pair, which no file can.
    return " ".join(value.encode("utf-8", "replace").decode("utf-8").split())


def shown(value: Any) -> str:
    """A value in an error: short, on one line, without walking through what it holds."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        names = ", ".join(repr(text(name)[:20]) for name in list(value)[:4])
        return f"an object with {names}" if value else "an empty object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, str):
        whole = text(value)
        return repr(whole if len(whole) <= _SHOWN else whole[: _SHOWN - 3] + "...")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of more than 60 digits"
    return str(value)


def _text(file: Path, expected: str) -> str:
    try:
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FindingsError(
                f"{file}: has {size} bytes, expected at most {MAX_FILE_BYTES} of JSON with "
                f"{expected}; split it by scans"
            )
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FindingsError(
            f"{file}: byte {error.start} is no UTF-8; expected JSON with {expected}; save it again "
            "as UTF-8"
        ) from None
    except OSError as error:
        raise FindingsError(f"{file}: cannot be read ({error.strerror}); check the file") from None


def _line_of_constant(text: str) -> int:
    for match in _STRING_OR_CONSTANT.finditer(text):
        if match[1]:
            return text.count("\n", 0, match.start()) + 1
    return 1


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DoubleNameError(shown(next(n for n in names if names.count(n) > 1)))
    return result
