# SPDX-License-Identifier: Apache-2.0
"""Builders of panels. Title, description, unit and link are required.

Thresholds are always set: without any, Grafana shows everything from 80 up in red.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.boards.variables import DATASOURCE

HOST, FLEET, KERNEL = "hvo-host", "hvo-fleet", "hvo-kernel"
"""UIDs of the dashboards, for links."""

COUNTS = ("short", "none")
"""Units of whole numbers."""
PAGES_S, PTES_S, FRAMES_S, RECORDS_S = (
    "suffix: pages/s",
    "suffix: PTEs/s",
    "suffix: frames/s",
    "suffix: /s",
)
"""Units of rates."""

_NAMES = {HOST: "Host", FLEET: "Fleet", KERNEL: "Kernel developer"}
_HERE = "${datasource:queryparam}&${job:queryparam}&${cluster:queryparam}&${__url_time_range}"

Panel = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel | heatmap.Panel
_P = TypeVar("_P", timeseries.Panel, stat.Panel, bargauge.Panel, table.Panel, heatmap.Panel)

NEUTRAL: Sequence[Threshold] = (Threshold(color="green"),)
"""Thresholds of a value that is neither good nor bad."""


def bad_from(value: float, color: str = "red") -> Sequence[Threshold]:
    """Return thresholds: green, and ``color`` from ``value`` up."""
    return (*NEUTRAL, Threshold(color=color, value=value))


def good_from(value: float, color: str = "orange") -> Sequence[Threshold]:
    """Return thresholds: ``color``, and green from ``value`` up."""
    return (Threshold(color=color), Threshold(color="green", value=value))


GOOD_AT_ZERO: Sequence[Threshold] = (
    Threshold(color="red"),
    Threshold(color="green", value=0),
    Threshold(color="red", value=1),
)


class Query(NamedTuple):
    """A PromQL expression and the legend of its series."""

    expr: str
    legend: str


class Text(NamedTuple):
    """Texts of a panel: title, description, Grafana unit, and the dashboard to link to."""

    title: str
    description: str
    unit: str
    link: str


def graph(
    text: Text,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    stacked: bool = False,
    none: str = "",
    sizes: bool = False,
    values: bool = True,
) -> timeseries.Panel:
    """Make a time series panel with last and maximum values in the legend below.

    Durations have a logarithmic axis: a 1 GB page takes hundreds of times as long as a 2 MB page.
    So have numbers of ``sizes``, but with a zero. ``none`` is shown if there is no series.
    Without ``values``, the legend has names only.
    """
    panel = (
        _common(timeseries.Panel(), text, NEUTRAL, width, height)
        .line_width(1)
        .fill_opacity(25 if stacked else 0)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"] if values else [])
            .sort_by("Max")
            .sort_desc(True)
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if text.unit == "s":
        log = common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(log)
    elif sizes:
        symlog = common.ScaleDistributionConfig().type(ScaleDistribution.SYMLOG)
        panel = panel.scale_distribution(symlog.log(10).linear_threshold(1)).axis_soft_min(0)
    else:
        panel = panel.axis_soft_min(0)
    if none:
        panel = panel.no_value(none)
    if text.unit in COUNTS:
        panel = panel.decimals(0)
    return _with_queries(panel, queries)


def number(
    text: Text,
    query: Query,
    *,
    width: int = 4,
    thresholds: Sequence[Threshold] = NEUTRAL,
    words: dict[str, ValueMappingResult] | None = None,
    absent: str = "",
    sparkline: bool = True,
) -> stat.Panel:
    """Make a stat panel; ``words`` replace values, ``absent`` is shown if there is no series.

    Without ``sparkline``, the query is an instant query.
    """
    panel = (
        _common(stat.Panel(), text, thresholds, width, height=4)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA if sparkline else BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    if words:
        mapping: ValueMapping = ValueMap(options=words)
        panel = panel.mappings([mapping])
    if absent:
        panel = panel.no_value(absent)
    if text.unit in COUNTS:
        panel = panel.decimals(0)
    return _with_queries(panel, (query,), instant=not sparkline)


def bars(
    text: Text, *queries: Query, width: int = 8, thresholds: Sequence[Threshold] = NEUTRAL
) -> bargauge.Panel:
    """Make a bar gauge: one bar per series, from an instant query."""
    panel = (
        _common(bargauge.Panel(), text, thresholds, width, height=8)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .name_placement(BarGaugeNamePlacement.TOP)
        .text(common.VizTextDisplayOptions().title_size(14).value_size(18))
        .max_viz_height(44)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .min(0)
    )
    return _with_queries(panel, queries, instant=True)


def latency_map(text: Text, query: Query, width: int = 12) -> heatmap.Panel:
    """Make a heatmap from the buckets of a histogram."""
    panel = (
        _common(heatmap.Panel(), text, NEUTRAL, width, height=8)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .reverse(False)
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .y_axis(heatmap.YAxisConfig().unit(text.unit))
        .cell_gap(1)
        .show_legend()
        .scale_distribution(common.ScaleDistributionConfig().type(ScaleDistribution.LINEAR))
    )
    return panel.with_target(_target(query, "A").format(PromQueryFormat.HEATMAP).range())


def rows(
    text: Text,
    *queries: Query,
    width: int = 24,
    height: int = 8,
    thresholds: Sequence[Threshold] = NEUTRAL,
    transformations: Sequence[DataTransformerConfig] = (),
    overrides: dict[str, list[DynamicConfigValue]] | None = None,
    worst: str,
    most: bool = False,
    none: str = "",
) -> table.Panel:
    """Make a table of instant values, sorted by column ``worst``; the largest first if ``most``."""
    panel = (
        _common(table.Panel(), text, thresholds, width, height)
        .show_header(True)
        .sort_by([common.TableSortByFieldState().display_name(worst).desc(most)])
    )
    if none:
        panel = panel.no_value(none)
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(_target(query, ref).format(PromQueryFormat.TABLE).instant())
    for transformation in transformations:
        panel = panel.with_transformation(transformation)
    for field, properties in (overrides or {}).items():
        panel = panel.override_by_name(field, properties)
    return panel


def _common(panel: _P, text: Text, thresholds: Sequence[Threshold], width: int, height: int) -> _P:
    steps = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(list(thresholds))
    panel = (
        panel.title(text.title)
        .description(text.description)
        .unit(text.unit)
        .datasource(DATASOURCE)
        .thresholds(steps)
        .span(width)
        .height(height)
    )
    panel.links([_link(text.link)])
    plain = isinstance(panel, timeseries.Panel)
    mode = FieldColorModeId.PALETTE_CLASSIC if plain else FieldColorModeId.THRESHOLDS
    panel.color_scheme(FieldColor().mode(mode))
    return panel


def _link(to: str) -> DashboardLink:
    name = _NAMES[to]
    return DashboardLink(f"HVO {name}").type(DashboardLinkType.LINK).url(f"/d/{to}/{to}?{_HERE}")


def _with_queries(panel: _P, queries: Sequence[Query], *, instant: bool = False) -> _P:
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        target = _target(query, ref)
        panel.with_target(target.instant() if instant else target.range())
    return panel


def _target(query: Query, ref: str) -> Dataquery:
    return (
        Dataquery().expr(query.expr).legend_format(query.legend).datasource(DATASOURCE).ref_id(ref)
    )
