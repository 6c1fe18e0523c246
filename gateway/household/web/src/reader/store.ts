// The two functions by which a store is read, and what is made of them.

import type { Bytes } from "./bytes.ts";
import * as names from "./names.ts";
import { Refused } from "./refused.ts";

/** The bytes under a key, or null where there is nothing. What it answers must be what the store has now, not an
 * older answer: of the head nothing else shows that there is a newer one. */
export type Get = (key: string) => Promise<Bytes | null>;

/** Some of the keys that begin with a prefix, in order, from the first one strictly after `after` on, and whether
 * there are more. */
export type List = (prefix: string, after?: string) => Promise<{ keys: string[]; more: boolean }>;

export interface Store {
  get: Get;
  list: List;
}

/** What a store lists; Refused where it goes back, which would have no end. */
async function next(store: Store, prefix: string, after: string): ReturnType<List> {
  const { keys, more } = await store.list(prefix, after);
  if (keys.some((key, i) => !key.startsWith(prefix) || key <= (keys[i - 1] ?? after))) {
    throw new Refused(`the store lists other keys than those below ${prefix} in their order`);
  }
  return { keys, more: more && keys.length > 0 };
}

/** All keys that begin with `prefix`, strictly after `after`, as far as `goesOn` likes them. */
export async function listed(store: Store, prefix: string, after: string, goesOn: (key: string) => boolean): Promise<string[]> {
  const found: string[] = [];
  for (;;) {
    const { keys, more } = await next(store, prefix, after);
    for (const key of keys) {
      if (!goesOn(key)) return found;
      found.push(key);
    }
    if (!more) return found;
    after = keys.at(-1)!;
  }
}

/** The keys of chunks or bundles strictly after `after` whose numbers lie below `end`. */
export function numbered(store: Store, prefix: string, after: string, end: bigint): Promise<string[]> {
  return listed(store, prefix, after, (key) => names.numberIn(key) < end);
}

/** `keys` from the last one whose number is at most `number`, which is the one that should hold it. */
export function holding(keys: string[], number: bigint): string[] {
  const last = keys.findLastIndex((key) => names.numberIn(key) <= number);
  return keys.slice(Math.max(0, last));
}
