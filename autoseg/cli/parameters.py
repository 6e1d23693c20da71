"""The command line's parameters: the places of each verb's paths, and the flags that follow from its options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from autoseg.errors import PlanError
from autoseg.flags import Option, options_of
from autoseg.version import VERSION


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autoseg {VERSION}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and stop.")
]
DatasetPath = Annotated[
    Path, typer.Argument(metavar="DATASET", help="nnU-Net raw folder, Decathlon folder, or CSV (case, image, label).")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that holds everything about a run.")]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A RUN, or a model.autoseg file.")]
ModelFile = Annotated[Path, typer.Argument(metavar="FILE", help="A model file, as in model.autoseg.")]
ImagePath = Annotated[Path, typer.Argument(metavar="INPUT", help="An image, a folder of images, or a DICOM folder.")]
OutPath = Annotated[Path, typer.Argument(metavar="OUT", help="A file where it has an image suffix, else a folder.")]
Predictions = Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of masks to score.")]
References = Annotated[Path, typer.Argument(metavar="REFERENCES", help="Folder of true masks, named the same.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="A B", help="RUNs, score files (autoseg's, nnU-Net's summary.json, a table by case), or roth2018."
    ),
]
CaseName = Annotated[str | None, typer.Argument(metavar="CASE", help="A case as scores.csv names it; or --all.")]


@dataclass(frozen=True)
class Without:
    """Marks a parameter some of whose flags are not its own in this verb: they keep their defaults."""

    flags: frozenset[str]


def without(*flags: str) -> Without:
    """Return the mark of an options parameter that leaves some flags to another one."""
    return Without(frozenset(flags))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """An options dataclass among the parameters of a verb."""

    kind: type[Any]
    defaults: Any  # an instance
    options: Mapping[str, Option]  # by field

    def read(self, values: Mapping[str, Any]) -> Any:
        """Return the options that the command line gave, by flag.

        Raises:
            PlanError: If a value is not written as it must be, two flags exclude each other, or the verb refuses one.
        """
        given = dict(vars(self.defaults))
        for name, option in self.options.items():
            value = values[option.flag]
            is_given = value is not None and value != []
            if is_given and option.refusal:
                raise PlanError(f"{option.flag}: {option.refusal}")
            if is_given and option.excludes and values[option.excludes] is not None:
                raise PlanError(f"{option.excludes} and {option.flag} exclude each other; give one")
            if option.notation is None:
                given[name] = value
            elif is_given:
                given[name] = option.notation.read(value)
        return self.kind(**given)

    def parameters(self) -> Iterator[tuple[str, inspect.Parameter]]:
        """Yield flag and parameter of each option."""
        types, defaults = get_type_hints(self.kind), vars(self.defaults)
        for name, option in self.options.items():
            notation = option.notation
            metavar = option.metavar or ("N" if int in (types[name], *get_args(types[name])) else None)
            asked = typer.Option(*option.flags, metavar=metavar, min=option.least, help=option.help)
            yield (
                option.flag,
                inspect.Parameter(
                    _name(option.flag),
                    inspect.Parameter.KEYWORD_ONLY,
                    default=defaults[name] if notation is None else None,
                    annotation=Annotated[types[name] if notation is None else notation.asked_as | None, asked],
                ),
            )


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose options dataclasses are asked for flag by flag; one that several have is asked once.

    A parameter is such a dataclass by its type; its default, where it has one, is an instance that gives the options
    theirs. Other parameters stay.
    """
    asked: dict[str, _Asked] = {}
    by_flag: dict[str, inspect.Parameter] = {}
    own: list[inspect.Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        group = _asked(hints[name], parameter)
        if group is None:
            own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))
            continue
        asked[name] = group
        for flag, one in group.parameters():
            by_flag.setdefault(flag, one)

    @functools.wraps(command)
    def ask(**values: Any) -> None:
        flags = {flag: values.pop(one.name) for flag, one in by_flag.items()}
        command(**values, **{name: group.read(flags) for name, group in asked.items()})

    parameters = [*own, *by_flag.values()]
    ask.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    ask.__annotations__ = {one.name: one.annotation for one in parameters}
    return ask


def _asked(hint: Any, parameter: inspect.Parameter) -> _Asked | None:
    """Return what a parameter asks for, if it is an options dataclass."""
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not is_dataclass(kind) or not isinstance(kind, type):
        return None
    left_out = {flag for mark in marks if isinstance(mark, Without) for flag in mark.flags}
    options = {name: one for name, one in options_of(kind).items() if one.flag not in left_out}
    defaults = kind() if parameter.default is inspect.Parameter.empty else parameter.default
    return _Asked(kind=kind, defaults=defaults, options=options)


def _name(flag: str) -> str:
    """Return a flag as Python's name of a parameter."""
    return flag.lstrip("-").replace("-", "_")
