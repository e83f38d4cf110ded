// SPDX-License-Identifier: Apache-2.0
/** What the page is told by whoever serves it: see dashboards/render/site.py. */
export interface Settings {
  dashboards: string[];
  /** Seconds since 1970; null for now. */
  to: number | null;
  /** Seconds. */
  shown: number;
  scrapeInterval: number;
  note: string;
}

/** Everything that goes wrong, so that whoever takes the picture can see it. */
export const problems: string[] = [];

export async function fetchJson<T>(url: string): Promise<T> {
  const answer = await fetch(url);
  if (!answer.ok) {
    throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  }
  return answer.json();
}
