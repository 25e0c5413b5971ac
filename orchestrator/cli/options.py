"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-s", "--set", metavar="KEY=VALUE", help="Override a key (dotted); null removes it. Repeatable."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Machine-readable lines on stdout, and nothing else there.")
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Also show what Ray prints (MLflow: tracking.log)."),
]
Trials = Annotated[
    int | None, typer.Option("-n", "--trials", min=1, metavar="N", help="Same as -s search.trials=N.")
]
Storage = Annotated[
    Path,
    typer.Option("--storage", metavar="DIR", help="Folder of journals and checkpoints (tracking.storage)."),
]
