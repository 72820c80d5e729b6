"""`overlap models`: what pretrained weights there are, and which of them a pattern selects."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from overlap.cli import output
from overlap.errors import ArgumentError

if TYPE_CHECKING:
    from overlap.models import CatalogEntry

BYTES_PER_PARAMETER = 4
JSON_FIELDS = ("name", "library", "architecture", "framework", "train_on", "parameters", "gmacs", "size", "licence")
COLUMNS = ("model", "framework", "trained on", "parameters", "GMACs", "size", "classes", "licence")


def models(
    patterns: Annotated[
        list[str],
        typer.Argument(metavar="PATTERN...", help="Globs of timm's names, or open_clip:GLOB; 'all' is every weight."),
    ],
    *,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="Leave these globs out; may repeat.")] = None,
    max_parameters: Annotated[
        float | None, typer.Option("--max-parameters", min=0, help="At most so many, such as 50e6.")
    ] = None,
    max_gmacs: Annotated[
        float | None, typer.Option("--max-gmacs", min=0, help="At most so many billion multiply-adds an image.")
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option("--licence", help="Glob of allowed licences; may repeat.")
    ] = None,
    framework: Annotated[list[str] | None, typer.Option("--framework", help="How it was trained; may repeat.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first so many.")] = None,
    json: Annotated[bool, typer.Option("--json/--table", help="Print JSON for scripts, or a table.")] = False,
) -> None:
    """List pretrained models with their training, size and licence; nothing is downloaded.

    Example: overlap models 'resnet50.*' 'open_clip:ViT-B-32/*' --max-gmacs 5
    """
    from overlap.models import Selection, select_models

    selection = Selection(
        patterns=tuple(patterns),
        exclude=tuple(exclude or ()),
        max_parameters=max_parameters,
        max_gmacs=max_gmacs,
        licences=tuple(licence or ()),
        frameworks=tuple(framework or ()),
        limit=limit,
    )
    entries, problems = select_models(selection)
    if problems:
        raise ArgumentError("; ".join(problems))
    if json:
        output.print_json([_as_json(entry) for entry in entries])
    else:
        _print_models(entries)


def _as_json(entry: "CatalogEntry") -> dict[str, object]:
    return {name: getattr(entry, name) for name in (*JSON_FIELDS, "classes")}


def _print_models(entries: Sequence["CatalogEntry"]) -> None:
    output.print_table(COLUMNS, [_row(entry) for entry in entries])
    parameters = sum(entry.parameters for entry in entries)
    typer.echo(
        f"{len(entries)} {'model' if len(entries) == 1 else 'models'}, {_short(parameters)} parameters, "
        f"about {_short(BYTES_PER_PARAMETER * parameters)}B to download"
    )
    _print_unknown(entries)


def _print_unknown(entries: Sequence["CatalogEntry"]) -> None:
    """The lines of a sweep file that would say how weights of unknown training were trained."""
    from overlap.taxonomy import unknown_line

    unknown = [entry for entry in entries if not entry.framework]
    if unknown:
        typer.echo("how these were trained is not known; say it under `pretrained` of a sweep file:")
    for entry in unknown:
        typer.echo(f"  {unknown_line(entry.library, entry.name)}")


def _row(entry: "CatalogEntry") -> tuple[str, ...]:
    name = entry.name if entry.library == "timm" else f"{entry.library}:{entry.name}"
    return (
        name,
        entry.framework or "unknown",
        entry.train_on or "unknown",
        _short(entry.parameters),
        f"{entry.gmacs:.3g}",
        str(entry.size),
        entry.label_space if entry.label_space == "text" else str(entry.classes),
        entry.licence or "unknown",
    )


def _short(count: float) -> str:
    """A count with three digits and its unit.

    >>> _short(25_557_032), _short(1_400_000_000), _short(340_000), _short(999_900_000)
    ('25.6 M', '1.4 G', '0.34 M', '1 G')
    """
    value, unit = (count / 1e9, "G") if count >= 999.5e6 else (count / 1e6, "M")
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"
