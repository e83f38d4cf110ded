// SPDX-License-Identifier: Apache-2.0
/** Settings of the page, served by dashboards/render/site.py. */
export interface Settings {
  dashboards: string[];
  /** Seconds since 1970; null for now. */
  to: number | null;
  /** Seconds. */
  shown: number;
  scrapeInterval: number;
  note: string;
}

/** All errors; shown on the page, so that screenshots include them. */
export const problems: string[] = [];

export async function fetchJson<T>(url: string): Promise<T> {
  const answer = await fetch(url);
  if (!answer.ok) {
    throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  }
  return answer.json();
}
