"""A unit's learning curves as TensorBoard's event files.

Written with the parts of the ``tensorboard`` package that need nothing else: its own
``EventFileWriter`` imports TensorFlow wherever that is installed, whichever backend trains.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
SCALARS = ("loss", "val_loss", "val_auc", "learning_rate", "patches_per_s")
"""Columns of ``history.csv`` that become curves."""


class EventLog:
    """The event file of one unit; its step is the epoch.

    A new log takes the place of what an earlier, killed training left there, and begins with the
    epochs that are gone on from: no step is there twice.

    Args:
        unit: the unit's folder; the file goes to its folder ``tensorboard``.
        history: rows of the epochs that are finished already. Defaults to none.
    """

    def __init__(self, unit: Path, history: Iterable[Mapping[str, Any]] = ()) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        folder = unit / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        now_s = time.time()
        # TensorBoard reads the files of a folder in the order of their names.
        self._file = folder / (
            f"events.out.tfevents.{now_s:017.6f}.{socket.gethostname()}.{os.getpid()}"
        )
        rows = list(history)
        # Restored epochs end now, each as long as it was, so that the axis of time fits.
        begun_s = now_s - sum(map(_seconds, rows))
        first = int(rows[0]["epoch"]) if rows else 1
        events = [
            Event(wall_time=begun_s, file_version="brain.Event:2"),
            # One that shows the old file already drops its steps from here on.
            Event(wall_time=begun_s, step=first, session_log=SessionLog(status=SessionLog.START)),
        ]
        for row in rows:
            begun_s += _seconds(row)
            events.append(_event(row, begun_s))
        self._append(events)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one more epoch: ``epoch`` and those of :data:`SCALARS` that are finite numbers."""
        self._append([_event(row, time.time())])

    def _append(self, events: Iterable[Any]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        # Opened for every epoch: nothing is to be closed when a training is stopped.
        with self._file.open("ab") as stream:
            writer = RecordWriter(stream)
            for event in events:
                writer.write(event.SerializeToString())


def _event(row: Mapping[str, Any], wall_time: float) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [
        Summary.Value(tag=name, simple_value=value)
        for name in SCALARS
        if (value := _number(row.get(name))) is not None
    ]
    return Event(wall_time=wall_time, step=int(row["epoch"]), summary=Summary(value=values))


def _seconds(row: Mapping[str, Any]) -> float:
    return _number(row.get("seconds")) or 0.0


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
