// SPDX-License-Identifier: Apache-2.0
/** A page that draws a dashboard's JSON with Grafana's libraries, from a Prometheus. */
import {
  DataFrame, GrafanaTheme2, TimeRange, createTheme, dateTime, setTimeZoneResolver,
} from '@grafana/data';
import { GlobalStyles, PanelChrome, ThemeContext } from '@grafana/ui';
import React, { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { initRegistries, prepared } from './fields';
import { Dashboard, Panel } from './model';
import { Clock, chosenValues, framesOf } from './prometheus';
import { Settings, fetchJson, problems } from './settings';
import { visualizations } from './visualizations';

const COLUMNS = 24;
const CELL = 30;
const GAP = 8;
const HEADER = 84;
const POINTS = 180;
const REFRESH_MS = 15_000;

interface Drawn {
  panel: Panel;
  frames: DataFrame[];
}

function Page({ board, settings }: { board: Dashboard; settings: Settings }) {
  const theme = createTheme({ colors: { mode: 'dark' } });
  const [drawn, setDrawn] = useState<Drawn[]>([]);
  const [clock, setClock] = useState<Clock>(clockOf(settings));
  const [chosen, setChosen] = useState<Record<string, string>>({});
  useEffect(() => {
    const load = async () => {
      const now = clockOf(settings);
      const values = await chosenValues(board, now);
      const loaded = await Promise.all(
        board.panels.map((panel) => loadPanel(board, panel, now, values, theme))
      );
      setChosen(values);
      setClock(now);
      setDrawn(loaded);
      setTimeout(finished, 500);
    };
    load();
    if (settings.to === null) {
      const timer = setInterval(load, REFRESH_MS);
      return () => clearInterval(timer);
    }
    return undefined;
  }, []);
  const width = document.documentElement.clientWidth;
  const rows = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <header>
        <h1>{board.title}</h1>
        <nav>
          {settings.dashboards.map((uid) => (
            <a key={uid} href={`?d=${uid}`} className={uid === board.uid ? 'here' : ''}>{uid}</a>
          ))}
        </nav>
        <p>
          {board.templating.list.map((variable) => (
            <span key={variable.name} className="variable">
              {variable.label} <b>{variable.type === 'datasource' ? 'Prometheus' : (chosen[variable.name] ?? 'All')}</b>
            </span>
          ))}
          <span className="variable">
            Time <b>{dateTime(clock.from * 1000).utc().format('YYYY-MM-DD HH:mm')} to{' '}
            {dateTime(clock.to * 1000).utc().format('HH:mm')} UTC</b>
          </span>
        </p>
        <small>{settings.note}</small>
      </header>
      <main style={{ height: rows * (CELL + GAP) }}>
        {drawn.map((one) => (
          <Cell key={one.panel.id} {...one} width={width} clock={clock} theme={theme} />
        ))}
      </main>
    </ThemeContext.Provider>
  );
}

function Cell(props: Drawn & { width: number; clock: Clock; theme: GrafanaTheme2 }) {
  const { panel, frames, clock, theme } = props;
  const { x, y, w, h } = panel.gridPos;
  const column = (props.width - GAP) / COLUMNS;
  const box = { left: GAP + x * column, top: y * (CELL + GAP), width: w * column - GAP };
  if (panel.type === 'row') {
    return <h2 className="row" style={box}>{panel.title}</h2>;
  }
  const Visualization = visualizations[panel.type];
  const height = h * (CELL + GAP) - GAP;
  const timeRange = timeRangeOf(clock);
  return (
    <div className="cell" data-title={panel.title} style={{ ...box, height }}>
      <PanelChrome title={panel.title} description={panel.description} width={box.width} height={height}>
        {(innerWidth, innerHeight) => (
          <Visualization
            panel={panel}
            frames={frames}
            width={innerWidth}
            height={innerHeight}
            theme={theme}
            timeRange={timeRange}
          />
        )}
      </PanelChrome>
    </div>
  );
}

async function loadPanel(
  board: Dashboard, panel: Panel, clock: Clock, chosen: Record<string, string>, theme: GrafanaTheme2
): Promise<Drawn> {
  if (panel.type === 'row') {
    return { panel, frames: [] };
  }
  try {
    return { panel, frames: await prepared(panel, await framesOf(board, panel, clock, chosen), theme) };
  } catch (error) {
    problems.push(`${panel.title}: ${error}`);
    return { panel, frames: [] };
  }
}

function clockOf(settings: Settings): Clock {
  const step = Math.max(settings.scrapeInterval, Math.ceil(settings.shown / POINTS));
  const to = settings.to ?? Math.floor(Date.now() / 1000 / step) * step;
  return { from: to - settings.shown, to, step, scrapeInterval: settings.scrapeInterval };
}

function timeRangeOf({ from, to }: Clock): TimeRange {
  const [first, last] = [dateTime(from * 1000), dateTime(to * 1000)];
  return { from: first, to: last, raw: { from: first, to: last } };
}

/** Marks the document as rendered, or after a timeout lists missing panels and errors. */
function finished(tries = 40): void {
  const blank = blankPanels();
  if (blank.length > 0 && tries > 0) {
    setTimeout(() => finished(tries - 1), 250);
    return;
  }
  const blanks = blank.map((title) => `${title}: nothing is drawn`);
  document.getElementById('problems')!.textContent = [...problems, ...blanks].join('\n');
  document.body.dataset.drawn = 'yes';
}

function blankPanels(): string[] {
  return [...document.querySelectorAll<HTMLElement>('.cell')]
    .filter((cell) => cell.childElementCount === 0 || [...cell.querySelectorAll('canvas')].some(isBlank))
    .map((cell) => cell.dataset.title ?? '');
}

function isBlank(canvas: HTMLCanvasElement): boolean {
  const pixels = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data;
  return !pixels?.some((value) => value !== 0);
}

async function main(): Promise<void> {
  setTimeZoneResolver(() => 'utc');
  initRegistries();
  const settings = await fetchJson<Settings>('settings.json');
  const uid = new URLSearchParams(location.search).get('d') ?? settings.dashboards[0];
  const board = await fetchJson<Dashboard>(`dashboards/${uid}.json`);
  document.title = board.title;
  createRoot(document.getElementById('root')!).render(<Page board={board} settings={settings} />);
}

window.addEventListener('error', (event) => problems.push(String(event.message)));
main().catch((error) => {
  problems.push(String(error));
  finished();
});
