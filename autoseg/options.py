"""The options of the command line, each defined once: `run` and `demo` take those of every verb they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DatasetPath = Annotated[
    Path, typer.Argument(metavar="DATASET", help="nnU-Net raw folder, Decathlon folder, or CSV (case, image, label).")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that holds everything about a run.")]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A RUN, or a model.autoseg file.")]
ImagePath = Annotated[Path, typer.Argument(metavar="INPUT", help="An image, a folder of images, or a DICOM folder.")]
OutPath = Annotated[Path, typer.Argument(metavar="OUT", help="A file where it has an image suffix, else a folder.")]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME|FILE", help="Take all settings from a plan file.")
]
GpuMemory = Annotated[float | None, typer.Option("--gpu-memory", metavar="GIB", help="Plan for a GPU of this memory.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")]
TrainDevice = Annotated[str | None, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Default: the plan's.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides split, initial weights and every crop.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the plan.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", metavar="CASE", help="Leave a case out.")]
Folds = Annotated[int, typer.Option("--folds", min=1, help="Folds of a cross-validation; 1: one split.")]
SplitFile = Annotated[
    Path | None, typer.Option("--split", metavar="FILE", help="Which cases train and test: JSON as split.json, or CSV.")
]
Measure = Annotated[bool, typer.Option("--measure", help="Run real iterations and write their time into plan.md.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a plan that was edited.")]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Processes. Default: the cores.")]
Fold = Annotated[str | None, typer.Option("--fold", metavar="K|all", help="Which folds to train. Default: all.")]
Iterations = Annotated[int | None, typer.Option("--iterations", min=1, help="Instead of the plan's.")]
TimeBudget = Annotated[str | None, typer.Option("--time-budget", metavar="45m", help="Train as long as this.")]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="Augmentation processes; 0: none.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows as JSON too.")]
Predictions = Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of masks to score.")]
References = Annotated[Path, typer.Argument(metavar="REFERENCES", help="Folder of true masks, named the same.")]
Scores = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the scores.")]
Cases = Annotated[int, typer.Option("--cases", min=4, help="Phantoms to make.")]
