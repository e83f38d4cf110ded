// SPDX-License-Identifier: Apache-2.0
/** The part of Grafana's dashboard model that our dashboards use. */
import { DataTransformerConfig, FieldConfigSource } from '@grafana/data';

export interface Target {
  expr: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  legendFormat?: string;
  refId: string;
}

export interface Panel {
  id: number;
  title: string;
  type: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: FieldConfigSource;
  // Options depend on the panel type; its component knows them.
  options: any;
  targets: Target[];
  transformations?: DataTransformerConfig[];
}

export interface Variable {
  name: string;
  label: string;
  type: string;
  query: string;
  allValue?: string;
  includeAll?: boolean;
}

export interface Dashboard {
  title: string;
  uid: string;
  panels: Panel[];
  templating: { list: Variable[] };
}
