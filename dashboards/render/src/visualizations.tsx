// SPDX-License-Identifier: Apache-2.0
/** One component of @grafana/ui for each panel type of our dashboards. */
import {
  DataFrame,
  FieldDisplay,
  GrafanaTheme2,
  TimeRange,
  VizOrientation,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
} from '@grafana/data';
import {
  BarGauge, BigValue, BigValueJustifyMode, BigValueTextMode, TimeSeries, VizRepeater,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { BarGaugeValueMode } from '@grafana/schema';
import React from 'react';
import { Heatmap } from './heatmap';
import { Panel } from './model';

export interface PanelProps {
  panel: Panel;
  frames: DataFrame[];
  width: number;
  height: number;
  theme: GrafanaTheme2;
  timeRange: TimeRange;
}

export const visualizations: Record<string, React.FC<PanelProps>> = {
  timeseries: Lines,
  stat: Numbers,
  bargauge: Bars,
  table: Rows,
  heatmap: Heatmap,
};

function Lines({ panel, frames, width, height, timeRange }: PanelProps) {
  if (frames.every((frame) => frame.length === 0)) {
    return <Nothing panel={panel} />;
  }
  return (
    <TimeSeries
      frames={frames}
      structureRev={1}
      width={width}
      height={height}
      timeRange={timeRange}
      timeZone="utc"
      legend={panel.options.legend}
      options={panel.options}
    />
  );
}

function Numbers({ panel, frames, width, height, theme }: PanelProps) {
  return (
    <VizRepeater
      source={frames}
      getValues={() => displayValues(panel, frames, theme, panel.options.graphMode !== 'none')}
      width={width}
      height={height}
      orientation={VizOrientation.Auto}
      renderCounter={1}
      renderValue={({ value, width, height, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          justifyMode={BigValueJustifyMode.Auto}
          textMode={BigValueTextMode.Value}
          width={width}
          height={height}
          theme={theme}
        />
      )}
    />
  );
}

function Bars({ panel, frames, width, height, theme }: PanelProps) {
  if (frames.length === 0) {
    return <Nothing panel={panel} />;
  }
  return (
    <VizRepeater
      source={frames}
      getValues={() => displayValues(panel, frames, theme, false)}
      getAlignmentFactors={(values: FieldDisplay[]) => getDisplayValueAlignmentFactors(values)}
      width={width}
      height={height}
      orientation={panel.options.orientation}
      itemSpacing={10}
      maxVizHeight={panel.options.maxVizHeight ?? 300}
      renderCounter={1}
      renderValue={({ value, width, height, alignmentFactors }) => (
        <BarGauge
          value={value.display}
          display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0) ?? undefined}
          field={value.field}
          alignmentFactors={alignmentFactors}
          text={panel.options.text}
          width={width}
          height={height}
          orientation={panel.options.orientation}
          displayMode={panel.options.displayMode}
          namePlacement={panel.options.namePlacement}
          valueDisplayMode={BarGaugeValueMode.Color}
          showUnfilled
          theme={theme}
        />
      )}
    />
  );
}

function Rows({ panel, frames, width, height }: PanelProps) {
  const [frame] = frames;
  if (!frame || frame.length === 0) {
    return <Nothing panel={panel} />;
  }
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      columnMinWidth={80}
      sortBy={panel.options.sortBy}
      structureRev={1}
      fieldConfig={panel.fieldConfig}
      enableVirtualization={false}
      getActions={() => []}
    />
  );
}

function displayValues(
  panel: Panel, frames: DataFrame[], theme: GrafanaTheme2, sparkline: boolean
): FieldDisplay[] {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: frames,
    sparkline,
    timeZone: 'utc',
  });
}

/** The panel's own text, or Grafana's, which a test rejects. */
function Nothing({ panel }: { panel: Panel }) {
  return <div className="nothing">{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}
