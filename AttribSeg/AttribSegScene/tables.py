"""Table nodes: lesions, metrics, or any columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from AttribSegLib.errors import InputError
from AttribSegLib.lesions import Lesion

from . import names
from .scenes import is_in_scene, named, scene_or_default

#: Columns of a lesion table that hold the centre, in mm.
CENTRE_COLUMNS = ("R (mm)", "A (mm)", "S (mm)")
#: Lesions in a table at most: at a threshold in the noise there are tens of thousands, and a
#: table view that shows them all stops the window.
MOST_LESIONS = 500
METRIC_COLUMNS = ("Population", "Map", "Metric", "Value", "SD", "Low", "High", "Cases")


def table_node(
    columns: Mapping[str, Sequence[Any]],
    *,
    scene: Any = None,
    node: Any = None,
    name: str | None = None,
) -> Any:
    """Make a table node, or fill one.

    Parameters
    ----------
    columns : mapping of str to sequence
        Columns of one length: integers, numbers or text, by their first value that is not None.
        None is an empty text, or not a number.
    scene : vtkMRMLScene, optional
        Where the node is made; default Slicer's scene.
    node : vtkMRMLTableNode, optional
        Node to fill instead of a new one.
    name : str, optional
        Name of the node; default ``"Table"`` for a new one, and as it was for an old one.

    Returns
    -------
    vtkMRMLTableNode

    Raises
    ------
    InputError
        If the columns differ in length, there is no scene, or ``node`` is deleted or no table.
    """
    import vtk

    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise InputError(f"table {name!r}: columns of one length were expected, not {found}")
    if node is None:
        node = scene_or_default(scene).AddNewNodeByClass("vtkMRMLTableNode", name or "Table")
    elif not is_in_scene(node, "vtkMRMLTableNode"):
        raise InputError(f"{named(node)}: a table node of the scene was expected; choose another")
    elif name is not None:
        node.SetName(name)
    table = vtk.vtkTable()
    for key, values in columns.items():
        table.AddColumn(_column(key, values))
    node.SetUseColumnTitleAsColumnHeader(True)
    # Swapped whole: views never see columns that do not fit together.
    node.SetAndObserveTable(table)
    return node


def lesion_table_node(
    lesions: Sequence[Lesion],
    *,
    scene: Any = None,
    node: Any = None,
    name: str | None = None,
    nominal: bool = False,
) -> Any:
    """Table of lesions, one row each.

    Parameters
    ----------
    lesions : sequence of Lesion
        As :func:`AttribSegLib.lesions.lesion_table` gives them.
    scene, node, name
        As for :func:`table_node`; a new node is called ``"Lesions table"``.
    nominal : bool
        Sizes and centres in voxels instead of mL and mm. So they are anyway when the lesions
        have no volume; an empty list cannot tell.

    Returns
    -------
    vtkMRMLTableNode
        Columns ``Lesion``, size, centre, ``Mean`` and ``Peak`` of the attribution; the first
        :data:`MOST_LESIONS` only. How many there are is the attribute :data:`.names.LESIONS`.

    Raises
    ------
    InputError
        As :func:`table_node`.
    """
    count, lesions = len(lesions), lesions[:MOST_LESIONS]
    nominal = nominal or any(lesion.volume_ml is None for lesion in lesions)
    columns: dict[str, list[Any]] = {"Lesion": [lesion.number for lesion in lesions]}
    if nominal:
        columns["Voxels"] = [lesion.voxels for lesion in lesions]
        for axis, letter in enumerate("IJK"):
            columns[letter] = [round(lesion.centre_ijk[axis], 1) for lesion in lesions]
    else:
        columns["Volume (mL)"] = [_digits(lesion.volume_ml) for lesion in lesions]
        for axis, title in enumerate(CENTRE_COLUMNS):
            columns[title] = [_coordinate(lesion, axis) for lesion in lesions]
    columns["Mean"] = [_digits(lesion.mean_attribution) for lesion in lesions]
    columns["Peak"] = [_digits(lesion.peak_attribution) for lesion in lesions]
    default = "Lesions table" if node is None else None
    result = table_node(columns, scene=scene, node=node, name=name or default)
    result.SetAttribute(names.LESIONS, str(count))
    return result


def lesion_centre(table: Any, row: int) -> tuple[float, float, float] | None:
    """Centre of a lesion in RAS, in mm.

    Parameters
    ----------
    table : vtkMRMLTableNode
        Of :func:`lesion_table_node`.
    row : int

    Returns
    -------
    tuple of float or None
        None when the table has no such row or gives no centres in mm.
    """
    content = table.GetTable()
    columns = [content.GetColumnByName(title) for title in CENTRE_COLUMNS]
    if None in columns or not 0 <= row < content.GetNumberOfRows():
        return None
    r, a, s = (float(column.GetValue(row)) for column in columns)
    return r, a, s


def metrics_table_node(
    evaluation: Mapping[str, Any],
    *,
    scene: Any = None,
    node: Any = None,
    name: str | None = None,
) -> Any:
    """Table of the metrics of an evaluation.

    Parameters
    ----------
    evaluation : mapping
        Content of ``evaluation.json``, as ``attribseg evaluate`` writes it.
    scene, node, name
        As for :func:`table_node`; a new node is called ``"Metrics"``.

    Returns
    -------
    vtkMRMLTableNode
        Columns ``Population``, ``Map``, ``Metric``, ``Value`` (a mean, where it is over cases),
        ``SD`` over cases, the limits ``Low`` and ``High`` of its 95 % interval, and ``Cases``.

    Raises
    ------
    InputError
        If the content is not that of an evaluation.
    """
    try:
        rows = _metric_rows(evaluation)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"evaluation: {error!r} is missing or of another kind; the content of an "
            "evaluation.json was expected, evaluate again"
        ) from error
    columns = {title: [row.get(title) for row in rows] for title in METRIC_COLUMNS}
    default = "Metrics" if node is None else None
    return table_node(columns, scene=scene, node=node, name=name or default)


def _metric_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the metrics: of images, of voxels per case and pooled, and of healthy cases."""
    rows: list[dict[str, Any]] = []

    def add(population: str, score_map: str, metric: str, value: Any, **more: Any) -> None:
        row = {"Population": population, "Map": score_map, "Metric": metric, "Value": value}
        rows.append(row | more)

    def add_summary(population: str, score_map: str, metric: str, found: Any) -> None:
        add(population, score_map, metric, found["mean"], SD=found["sd"], Cases=found["n"])

    cases = evaluation["counts"]["cases"]
    for metric, found in evaluation["image"].items():
        limits = {"Low": found["low"], "High": found["high"]}
        add("all cases", "classifier", metric, found["value"], Cases=cases, **limits)
    for population, content in evaluation["populations"].items():
        for score_map, result in content["maps"].items():
            for metric, found in result["per_case"].items():
                add_summary(population, score_map, metric, found)
            for metric, value in result["pooled"].items():
                add(population, score_map, f"{metric}, pooled", value, Cases=content["cases"])
    for score_map, metrics in evaluation["healthy"].items():
        for metric, found in metrics.items():
            add_summary("healthy cases", score_map, metric, found)
    return rows


def _column(title: str, values: Sequence[Any]) -> Any:
    """VTK array of a column; its type follows the values."""
    import vtk

    column: Any
    ready: list[Any]
    known = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in known):
        column = vtk.vtkStringArray()
        ready = ["" if value is None else str(value) for value in values]
    elif known and len(known) == len(values) and all(isinstance(v, int) for v in known):
        column = vtk.vtkIntArray()
        ready = [int(value) for value in values]
    else:
        column = vtk.vtkDoubleArray()
        ready = [math.nan if value is None else float(value) for value in values]
    column.SetName(title)
    for value in ready:
        column.InsertNextValue(value)
    return column


def _coordinate(lesion: Lesion, axis: int) -> float | None:
    return None if lesion.centre_ras_mm is None else round(lesion.centre_ras_mm[axis], 2)


def _digits(value: float | None) -> float | None:
    """A number as the lesion table on disk gives it: six digits."""
    return None if value is None else float(f"{value:.6g}")
