// The two functions by which a store is read, and what is made of them.

import type { Bytes } from "./bytes.ts";
import * as names from "./names.ts";

/** The bytes under a key, or null where there is nothing. What it answers must be what the store has now, not an
 * older answer: of the head nothing else shows that there is a newer one. */
export type Get = (key: string) => Promise<Bytes | null>;

/** Some of the keys that begin with a prefix, in order, from the first one strictly after `after` on; none where
 * there are no more. */
export type List = (prefix: string, after?: string) => Promise<string[]>;

export interface Store {
  get: Get;
  list: List;
}

/** The keys of chunks or bundles strictly after `after` whose numbers lie below `end`. */
export async function numbered(store: Store, prefix: string, after: string, end: bigint | null): Promise<string[]> {
  const found: string[] = [];
  for (let keys = await store.list(prefix, after); keys.length > 0; keys = await store.list(prefix, after)) {
    for (const key of keys) {
      if (end !== null && names.numberIn(key) >= end) return found;
      found.push(key);
    }
    after = keys.at(-1)!;
  }
  return found;
}

/** `keys` from the last one whose number is at most `number`, which is the one that should hold it. */
export function holding(keys: string[], number: bigint): string[] {
  const last = keys.findLastIndex((key) => names.numberIn(key) <= number);
  return keys.slice(Math.max(0, last));
}
