// SPDX-License-Identifier: Apache-2.0
/**
 * Field settings that Grafana's core registers and its packages do not; values are used as written.
 */
import {
  DataFrame,
  FieldConfigOptionsRegistry,
  FieldConfigPropertyItem,
  GrafanaTheme2,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';
import { Panel } from './model';

const STANDARD = [
  'unit', 'decimals', 'min', 'max', 'displayName', 'mappings', 'thresholds', 'color', 'noValue',
];
const CUSTOM = [
  'axisSoftMin', 'cellOptions', 'fillOpacity', 'lineWidth', 'showPoints', 'stacking', 'hideFrom',
  'scaleDistribution', 'drawStyle', 'axisSoftMax', 'width',
];

const registry = new FieldConfigOptionsRegistry(() => [
  ...STANDARD.map((path) => item(path, path, false)),
  ...CUSTOM.map((path) => item(`custom.${path}`, path, true)),
]);

export function initRegistries(): void {
  standardFieldConfigEditorRegistry.setInit(() => STANDARD.map((path) => item(path, path, false)));
  standardTransformersRegistry.setInit(() =>
    [
      standardTransformers.mergeTransformer,
      standardTransformers.filterFieldsByNameTransformer,
      standardTransformers.organizeFieldsTransformer,
    ].map((transformation) => ({
      id: transformation.id,
      name: transformation.name,
      transformation: () => Promise.resolve(transformation),
      editor: () => null,
      imageDark: '',
      imageLight: '',
    }))
  );
}

/** The processing that Grafana does between data source and panel. */
export async function prepared(
  panel: Panel, frames: DataFrame[], theme: GrafanaTheme2
): Promise<DataFrame[]> {
  const transformed = await lastValueFrom(
    transformDataFrame(panel.transformations ?? [], frames)
  );
  const overridden = applyFieldOverrides({
    data: transformed,
    fieldConfig: panel.fieldConfig,
    fieldConfigRegistry: registry,
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(overridden);
  return overridden;
}

function item(id: string, path: string, isCustom: boolean): FieldConfigPropertyItem {
  return {
    id,
    path,
    isCustom,
    name: id,
    description: '',
    editor: () => null,
    override: () => null,
    process: (value) => value,
    shouldApply: () => true,
    getItemsCount: () => 1,
  };
}
