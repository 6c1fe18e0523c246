// The heads that this browser saw last, so that a store cannot go back to an older state.

import type { Mark } from "../reader/index.ts";

const name = (stream: string): string => `gateway-seen-${stream}`;

/** The mark that was kept of a stream; null without one, or without a memory. */
export function markKept(stream: string): Mark | null {
  try {
    const { seq, digest, nextUnit } = JSON.parse(localStorage.getItem(name(stream)) ?? "") as Record<string, string>;
    return { seq: BigInt(seq!), digest: digest!, nextUnit: BigInt(nextUnit!) };
  } catch {
    return null;
  }
}

export function keepMark(stream: string, mark: Mark | null): void {
  if (!mark) return;
  try {
    const { seq, digest, nextUnit } = mark;
    localStorage.setItem(name(stream), JSON.stringify({ seq: `${seq}`, digest, nextUnit: `${nextUnit}` }));
  } catch {
    // a browser that keeps nothing of a file still shows it
  }
}
