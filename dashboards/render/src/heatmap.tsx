// SPDX-License-Identifier: Apache-2.0
/**
 * Cells of a histogram over time. @grafana/ui has no heatmap: axes and canvas are Grafana's
 * (UPlotChart), the cells are drawn here.
 */
import { DataFrame, getValueFormat, formattedValueToString } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder } from '@grafana/ui';
import React, { useMemo } from 'react';
import uPlot from 'uplot';
import type { PanelProps } from './visualizations';

const COLORS = ['#5a2d0c', '#8a3c0e', '#b84e12', '#dd6d1f', '#f58f3c', '#fbb774', '#fddcb5'];

interface Cells {
  /** Milliseconds. */
  times: number[];
  bounds: string[];
  /** By bucket, then time. */
  counts: number[][];
  largest: number;
}

export function Heatmap({ panel, frames, width, height, theme, timeRange }: PanelProps) {
  const cells = useMemo(() => cellsOf(frames), [frames]);
  const legend = 26;
  const config = useMemo(() => {
    const builder = new UPlotConfigBuilder('utc');
    builder.addScale({
      scaleKey: 'x',
      isTime: true,
      orientation: ScaleOrientation.Horizontal,
      direction: ScaleDirection.Right,
      range: () => [timeRange.from.valueOf(), timeRange.to.valueOf()],
    });
    builder.addScale({
      scaleKey: 'y',
      isTime: false,
      orientation: ScaleOrientation.Vertical,
      direction: ScaleDirection.Up,
      range: () => [0, cells.bounds.length],
    });
    builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, theme, timeZone: 'utc' });
    builder.addAxis({
      scaleKey: 'y',
      placement: AxisPlacement.Left,
      theme,
      size: 70,
      splits: () => cells.bounds.map((_, index) => index + 1),
      values: () => cells.bounds.map((bound, index) => (index % 2 ? '' : label(bound, panel))),
    });
    builder.addSeries({ scaleKey: 'y', theme, show: false });
    builder.addHook('draw', (plot) => draw(plot, cells));
    return builder;
  }, [cells, panel, theme, timeRange]);
  if (cells.largest === 0) {
    return <div className="nothing">No data</div>;
  }
  const data: uPlot.AlignedData = [cells.times, cells.times.map(() => null)];
  return (
    <>
      <UPlotChart data={data} width={width} height={height - legend} config={config} />
      <div className="heatmap-legend" data-testid="heatmap-legend">
        1
        {COLORS.map((color) => (
          <span key={color} style={{ background: color }} />
        ))}
        {cells.largest} huge pages
      </div>
    </>
  );
}

function cellsOf(frames: DataFrame[]): Cells {
  const bound = (frame: DataFrame) => frame.fields[1].labels?.le ?? '+Inf';
  const sorted = [...frames].sort((a, b) => seconds(bound(a)) - seconds(bound(b)));
  const cumulative = sorted.map((frame) => [...frame.fields[1].values] as Array<number | null>);
  const counts = cumulative.map((row, bucket) =>
    row.map((value, at) => Math.round((value ?? 0) - (bucket ? (cumulative[bucket - 1][at] ?? 0) : 0)))
  );
  const used = counts.map((row, bucket) => (row.some(Boolean) ? bucket : -1)).filter((b) => b >= 0);
  const [low, high] = [Math.max(0, Math.min(...used) - 1), Math.max(...used) + 2];
  return {
    times: sorted.length ? [...sorted[0].fields[0].values] : [],
    bounds: sorted.map(bound).slice(low, high),
    counts: counts.slice(low, high),
    largest: Math.max(0, ...counts.flat()),
  };
}

function draw(plot: uPlot, cells: Cells): void {
  const step = cells.times.length > 1 ? cells.times[1] - cells.times[0] : 60000;
  const x = (time: number) => plot.valToPos(time, 'x', true);
  const y = (bucket: number) => plot.valToPos(bucket, 'y', true);
  cells.counts.forEach((row, bucket) =>
    row.forEach((count, at) => {
      if (count > 0) {
        const share = Math.sqrt(count / cells.largest);
        plot.ctx.fillStyle = COLORS[Math.min(COLORS.length - 1, Math.floor(share * COLORS.length))];
        const left = Math.max(plot.bbox.left, x(cells.times[at] - step));
        const top = y(bucket + 1);
        plot.ctx.fillRect(left, top + 1, Math.max(1, x(cells.times[at]) - left - 0.5), y(bucket) - top - 1);
      }
    })
  );
}

function seconds(bound: string): number {
  return bound === '+Inf' ? Infinity : Number(bound);
}

function label(bound: string, panel: PanelProps['panel']): string {
  if (bound === '+Inf') {
    return bound;
  }
  const format = getValueFormat(panel.fieldConfig.defaults.unit ?? 's');
  return formattedValueToString(format(Number(bound)));
}
