"""CPUs, memory, disk, decoders of compressed DICOM and the key of pseudonyms."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from nodulenet.amounts import bytes_text, count_text
from nodulenet.cpus import usable_cpus
from nodulenet.doctor.check import Check
from nodulenet.privacy import KEY_VARIABLE, key_file

LEAST_MEMORY = 4 * 2**30
"""TensorFlow and MONAI take 1.3 GB before the first patch."""
LEAST_DISK = 2 * 2**30
"""The demo takes 0.2 GB; a run on real scans takes what `prepare --dry-run` says."""

# DICOM's names of the compressions that CT scanners and archives use.
_COMPRESSIONS = {
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "RLE": "1.2.840.10008.1.2.5",
}


def machine_checks(folder: Path) -> list[Check]:
    """All of them; ``folder`` is where runs would be written."""
    return [
        cpu_check(),
        memory_check(),
        disk_check("disk here", folder),
        disk_check("temporary files", Path(tempfile.gettempdir())),
        decoder_check(),
        key_check(),
    ]


def cpu_check() -> Check:
    """CPUs that may be used, of those that there are."""
    usable, there = usable_cpus(), os.cpu_count() or 1
    found = f"{count_text(usable, 'CPU')} to use" + (f" of {there}" if usable < there else "")
    threads = {
        name: os.environ[name]
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
        if name in os.environ
    }
    found += "".join(f", {name}={value}" for name, value in threads.items())
    return Check("CPUs", "ok", found)


def memory_check() -> Check:
    """The machine's memory, where the system tells it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Check("memory", "ok", "not told by this system")
    if total < LEAST_MEMORY:
        remedy = f"training wants {bytes_text(LEAST_MEMORY)} at least; --jobs 1, smaller batches"
        return Check("memory", "fix", bytes_text(total), remedy)
    return Check("memory", "ok", bytes_text(total))


def disk_check(what: str, folder: Path) -> Check:
    """Whether files can be written there, and how much is free."""
    from nodulenet.patches.disk_space import free_bytes

    try:
        with tempfile.TemporaryFile(dir=folder):
            free = free_bytes(folder)
    except OSError as error:
        remedy = "choose another folder, or mend its rights"
        return Check(what, "fix", f"cannot be written: {error.strerror or error}", remedy)
    if free < LEAST_DISK:
        return Check(what, "fix", f"{bytes_text(free)} free", "make room, or choose another disk")
    return Check(what, "ok", f"{bytes_text(free)} free")


def decoder_check() -> Check:
    """Whether every usual compression of DICOM pixels can be decoded."""
    if find_spec("pydicom") is None:
        return Check("DICOM", "note", "no pydicom here: no scans can be read")
    from pydicom.pixels import get_decoder

    lacking = [name for name, uid in _COMPRESSIONS.items() if not get_decoder(uid).is_available]
    if lacking:
        remedy = "pip install pylibjpeg pylibjpeg-openjpeg pyjpegls python-gdcm"
        return Check("DICOM", "fix", f"no decoder for {', '.join(lacking)}", remedy)
    return Check("DICOM", "ok", f"decodes {', '.join(_COMPRESSIONS)}")


def key_check() -> Check:
    """Whether there is a key of pseudonyms, or can be one. The key itself is not read."""
    file = key_file()
    if file.is_file():
        if os.access(file, os.R_OK):
            return Check("key of pseudonyms", "ok", "there")
        return Check("key of pseudonyms", "fix", "there, not readable", "mend the file's rights")
    parent = file.parent
    while not parent.exists():
        parent = parent.parent
    if parent.is_dir() and os.access(parent, os.W_OK):
        return Check("key of pseudonyms", "ok", "not made yet; the first patient makes it")
    remedy = f"set {KEY_VARIABLE} to a file in a folder of yours (docs/privacy.md)"
    return Check("key of pseudonyms", "fix", "cannot be made where it belongs", remedy)
