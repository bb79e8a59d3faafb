"""Maps of a run's own findings, each by the models that never saw it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodulenet.errors import DataError, RunError
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel
from nodulenet.inference.explain.explanation import Explanation
from nodulenet.inference.explain.finding import Method
from nodulenet.inference.explain.grad_cam import grad_cam
from nodulenet.inference.explain.occlusion import answers_of, occlusion
from nodulenet.patches.store import PatchStore
from nodulenet.progress import Progress, Silent


def held_out_maps(
    bundle: Bundle,
    model: BundledModel,
    store: PatchStore,
    folds: Mapping[str, int],
    *,
    method: Method = "grad-cam",
    progress: Progress | None = None,
) -> Iterator[tuple[str, Explanation]]:
    """Maps of findings of a run, for its gallery.

    Args:
        bundle: the run.
        model: the one of its models that is meant.
        store: the run's patches.
        folds: finding -> the fold that held it out.
        method: "grad-cam" or "occlusion". Defaults to "grad-cam".
        progress: who is told. Defaults to nobody.

    Yields:
        The finding and its map, the mean over the seeds of its fold.

    Raises:
        DataError: the store holds patches of another form than the run's.
        RunError: a finding has no patch in the store, or its fold no model.
    """
    if store.spec.stored_shape != bundle.spec.stored_shape:
        raise DataError(
            f"{store.path}: holds patches of {store.spec.stored_shape}; expected those of "
            f"{bundle.path}, {bundle.spec.stored_shape}"
        )
    loaded = bundle.networks(model.key)
    position = {name: i for i, name in enumerate(store.index["finding_id"])}
    with (progress or Silent()).task("explain", len(folds), "findings") as task:
        for finding, fold in folds.items():
            models = [m for m, f in zip(loaded, model.folds, strict=True) if f == fold]
            if not models or finding not in position:
                raise RunError(
                    f"{bundle.path}: finding {finding!r} of fold {fold} has no "
                    f"{'patch in the store' if models else 'model'}; finish the training first"
                )
            (stored,) = store.patches([position[finding]])
            given = (stored, bundle.spec, store.values)
            if method == "grad-cam":
                found = grad_cam(models, *given, target=bundle.target)
            else:
                answer = answers_of(models, bundle.spec, store.values, bundle.target)
                found = occlusion(answer, *given)
            task.advance()
            yield finding, found
