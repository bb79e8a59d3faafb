"""``nodulenet``: the verbs and what their exit codes mean.

Nothing heavy is imported here or at the top of a verb's module, so that ``--help`` is immediate.
"""

from __future__ import annotations

from typing import Annotated

import typer

from nodulenet import __version__
from nodulenet.cli import (
    audit,
    augment,
    bundle,
    classify,
    compare,
    config,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    findings,
    froc,
    info,
    patch,
    phantom,
    prepare,
    run,
    scans,
    store,
    train,
    validate,
)
from nodulenet.cli.terminal import run_app

EPILOG = (
    "Exit codes: 0 done; 1 a defect of ours; 2 wrong usage or configuration; 3 data that cannot be "
    "used, so nothing could be completed; 4 done, with failures listed; 130 stopped by Ctrl-C. "
    "Results go to stdout, progress and warnings to stderr. Research use only."
)

app = typer.Typer(
    name="nodulenet",
    help="Lung-nodule classification on CT: train with honest cross-validation, evaluate, answer.",
    epilog=EPILOG,
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)
    ] = False,
) -> None:
    """Lung-nodule classification on CT: train with honest cross-validation, evaluate, answer."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


app.command(epilog=EPILOG)(demo.demo)
app.command(epilog=EPILOG)(phantom.phantom)
app.command(epilog=EPILOG)(scans.scans)
app.add_typer(findings.app, name="findings", epilog=EPILOG)
app.command(epilog=EPILOG)(prepare.prepare)
app.command(epilog=EPILOG)(store.store)
app.command(epilog=EPILOG)(audit.audit)
app.command(epilog=EPILOG)(run.run)
app.command(epilog=EPILOG)(augment.augment)
app.command(epilog=EPILOG)(train.train)
app.command(epilog=EPILOG)(evaluate.evaluate)
app.command(epilog=EPILOG)(validate.validate)
app.command(epilog=EPILOG)(compare.compare)
app.command(epilog=EPILOG)(froc.froc)
app.command(epilog=EPILOG)(bundle.bundle)
app.command(epilog=EPILOG)(classify.classify)
app.command(epilog=EPILOG)(export.export)
app.command(epilog=EPILOG)(explain.explain)
app.command(epilog=EPILOG)(patch.patch)
app.command(epilog=EPILOG)(info.info)
app.command(epilog=EPILOG)(config.config)
app.command(epilog=EPILOG)(doctor.doctor)


def main() -> None:
    """Entry point of the ``nodulenet`` command."""
    run_app(app)


if __name__ == "__main__":
    main()
