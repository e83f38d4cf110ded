// SPDX-License-Identifier: Apache-2.0
/** Runs a panel's queries with Prometheus' API and returns data frames. */
import { DataFrame, Field, FieldType } from '@grafana/data';
import { Dashboard, Panel, Target } from './model';
import { fetchJson } from './settings';

export interface Clock {
  /** Seconds since 1970. */
  from: number;
  to: number;
  /** Seconds between two points of a graph. */
  step: number;
  scrapeInterval: number;
}

interface Series {
  metric: Record<string, string>;
  values?: Array<[number, string]>;
  value?: [number, string];
}

export async function framesOf(
  board: Dashboard, panel: Panel, clock: Clock, chosen: Record<string, string>
): Promise<DataFrame[]> {
  const several = panel.targets.length > 1;
  const answers = panel.targets.map(async (target) => {
    const series = await ask(filledIn(target.expr, board, clock, chosen), target, clock);
    if (target.format === 'table') {
      return [tableFrame(series, target, several)];
    }
    return series.map((one) => seriesFrame(one, target, clock));
  });
  return (await Promise.all(answers)).flat();
}

/** Values of variables without All: from the address, or else the first that there is. */
export async function chosenValues(board: Dashboard, clock: Clock): Promise<Record<string, string>> {
  const chosen: Record<string, string> = {};
  const asked = new URLSearchParams(location.search);
  for (const variable of board.templating.list) {
    if (variable.type !== 'query' || variable.includeAll) {
      continue;
    }
    const found = /^label_values\((.+), (\w+)\)$/.exec(variable.query);
    const query = found ? `group by (${found[2]}) (${filledIn(found[1], board, clock, chosen)})` : '';
    const values = (await ask(query, { expr: query, instant: true, refId: 'A' }, clock))
      .map((series) => series.metric[found?.[2] ?? ''] ?? '')
      .sort();
    chosen[variable.name] = asked.get(`var-${variable.name}`) ?? values[0] ?? '';
  }
  return chosen;
}

/** Replaces variables as Grafana does: chosen values, otherwise All. */
function filledIn(
  expr: string, board: Dashboard, clock: Clock, chosen: Record<string, string>
): string {
  const rate = Math.max(clock.step + clock.scrapeInterval, 4 * clock.scrapeInterval);
  let text = expr
    .replaceAll('$__rate_interval', `${rate}s`)
    .replaceAll('$__range', `${clock.to - clock.from}s`)
    .replaceAll('$__interval', `${clock.step}s`);
  for (const variable of board.templating.list) {
    text = text.replaceAll(`"$${variable.name}"`, `"${chosen[variable.name] ?? variable.allValue ?? '.*'}"`);
  }
  return text;
}

async function ask(query: string, target: Target, clock: Clock): Promise<Series[]> {
  const asked: Record<string, string> = target.instant
    ? { query, time: `${clock.to}` }
    : { query, start: `${clock.from}`, end: `${clock.to}`, step: `${clock.step}` };
  const path = target.instant ? 'query' : 'query_range';
  const answer = await fetchJson<{ data: { result: Series[] } }>(
    `api/v1/${path}?${new URLSearchParams(asked)}`
  );
  return answer.data.result;
}

function seriesFrame(series: Series, target: Target, clock: Clock): DataFrame {
  const points = series.values ?? (series.value ? [series.value] : []);
  const known = new Map(points.map(([time, value]) => [time, Number(value)]));
  const times = target.instant ? [...known.keys()] : steps(clock);
  const name = legend(target.legendFormat ?? '', series.metric);
  const values = times.map((time) => finite(known.get(time)));
  return {
    refId: target.refId,
    name,
    length: times.length,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: times.map((time) => time * 1000) },
      {
        name: 'Value',
        type: FieldType.number,
        config: { displayNameFromDS: name },
        labels: series.metric,
        values,
      },
    ],
  };
}

function tableFrame(series: Series[], target: Target, several: boolean): DataFrame {
  const labels = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].sort();
  const fields: Field[] = labels.map((label) => ({
    name: label,
    type: FieldType.string,
    config: {},
    values: series.map((one) => one.metric[label] ?? ''),
  }));
  fields.push({
    name: several ? `Value #${target.refId}` : 'Value',
    type: FieldType.number,
    config: {},
    values: series.map((one) => finite(Number(one.value?.[1]))),
  });
  return { refId: target.refId, length: series.length, fields };
}

function steps(clock: Clock): number[] {
  const count = Math.floor((clock.to - clock.from) / clock.step) + 1;
  return Array.from({ length: count }, (_, index) => clock.from + index * clock.step);
}

function legend(format: string, labels: Record<string, string>): string {
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
}

/** NaN, the quantile of an empty histogram, is a gap. */
function finite(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : value;
}
