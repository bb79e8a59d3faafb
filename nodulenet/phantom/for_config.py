"""The phantom that a configuration asks for, so that a demo needs no data of its own."""

from __future__ import annotations

from pathlib import Path

from nodulenet.config.schema import Config, Luna16Source
from nodulenet.errors import UsageError
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


def phantom_nodule(config: Config) -> tuple[Path, tuple[float, float, float]]:
    """A nodule of the phantom that the configuration runs on, to try an answer on.

    Returns:
        The scan's ``.mhd``, and the first annotated point in LPS mm, (x, y, z).

    Raises:
        UsageError: the configuration runs on no phantom.
    """
    source = config.source
    if not isinstance(source, Luna16Source) or source.phantom is None:
        raise UsageError(f"{config.name}: source.phantom is not set; expected a phantom's run")
    import pandas as pd

    annotation = pd.read_csv(source.root / "annotations.csv").iloc[0]
    scan = next(source.root.glob(f"subset*/{annotation['seriesuid']}.mhd"))
    return scan, tuple(float(annotation[f"coord{axis}"]) for axis in "XYZ")  # type: ignore[return-value]
