"""The phantom that a configuration asks for, so that a demo needs no data of its own."""

from __future__ import annotations

from nodulenet.config.schema import Config, Luna16Source
from nodulenet.progress import Progress, Silent


def ensure_phantom(config: Config, *, progress: Progress | None = None) -> bool:
    """Generate ``source.phantom`` into ``source.root``, as far as it is not there yet.

    Returns:
        Whether the configuration runs on a phantom.
    """
    source = config.source
    if not isinstance(source, Luna16Source) or source.phantom is None:
        return False
    from nodulenet.phantom import generate_phantom

    generate_phantom(
        source.root,
        scans=source.phantom.scans,
        seed=source.phantom.seed,
        progress=progress or Silent(),
    )
    return True
