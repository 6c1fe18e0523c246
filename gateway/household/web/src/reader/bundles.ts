// The bundles of one grant: folded ones of the days and months that are over, and new ones.

import { hex } from "./bytes.ts";
import * as names from "./names.ts";
import { type Bundle, type Grant, readBundle } from "./objects.ts";
import { Refused } from "./refused.ts";
import { holding, numbered } from "./store.ts";
import type { Stream } from "./stream.ts";

const LOOK_BACK = 4096n; // windows; a bundle that began earlier is found too, by another request
const NO_END = 1n << 64n;

/** A bundle, and the words that hide its tokens. */
export interface Covered extends Bundle {
  masks: BigUint64Array<ArrayBuffer>;
}

/** Windows [first, end), and the bundle that holds their tokens. */
export interface Part {
  bundle: Covered;
  first: bigint;
  end: bigint;
}

export class Bundles {
  readonly #stream: Stream;
  readonly #grant: Grant;
  readonly #id: string;
  readonly #masks: (bundle: Bundle) => Promise<BigUint64Array<ArrayBuffer>>;
  readonly #kept = new Map<string, Promise<Covered | null>>(); // they never change

  /** `masks` makes the words that hide a bundle's tokens: of each as it comes, while others are on their way. */
  constructor(stream: Stream, grant: Grant, masks: (bundle: Bundle) => Promise<BigUint64Array<ArrayBuffer>>) {
    this.#stream = stream;
    this.#grant = grant;
    this.#masks = masks;
    this.#id = hex(grant.id);
  }

  /** Windows [first, end) in parts that follow each other, as far as there are bundles. `folded` says before which
   * window the bundles of a fold end. Refused where one is missing while later ones are there. */
  async read(first: bigint, end: bigint, folded: Record<names.Span, bigint>): Promise<Part[]> {
    const folds = [
      { fold: "month", from: first, until: folded.month },
      { fold: "day", from: folded.month, until: folded.day },
      { fold: "new", from: folded.day, until: end },
    ] as const;
    const due = folds.map(async ({ fold, from, until }) => {
      const [x, y] = [most(first, from), least(end, until)];
      const large = fold === "day" && 2n * (y - x) > until - from; // of the month so far, as one object has it
      return large ? this.#likely(names.tokensSoFar(this.#stream.id, this.#id, until), fold, x, y) : this.#of(fold, x, y);
    });
    let parts = inOrder((await Promise.all(due)).flat(), first, end);
    for (const { fold, from, until } of folds) {
      const gaps = between(parts, first, least(least(end, until), from)); // which bundles of a later fold fill
      const found = (await Promise.all(gaps.map(([x, y]) => this.#of(fold, x, y)))).flat();
      parts = inOrder([...parts.map(({ bundle }) => bundle), ...found], first, end);
    }
    let at = first;
    for (const part of parts) {
      if (part.first > at) {
        throw new Refused(`${names.bundle(this.#stream.id, this.#id, at)} is missing: tokens of later windows are there`);
      }
      at = part.end;
    }
    return parts;
  }

  /** All windows of a calendar grant, whose edges stand in its bundles: these must rise and meet. */
  async all(): Promise<{ parts: Part[]; edges: bigint[] }> {
    const parts = await this.read(0n, NO_END, { month: NO_END, day: NO_END });
    const edges = [this.#grant.first];
    for (const { bundle } of parts) {
      const known = edges.slice(Number(bundle.first));
      const own = bundle.edges!; // checked with the bundle
      if (known.some((edge, i) => i < own.length && own[i] !== edge)) {
        throw new Refused(`${bundle.key} has edges that do not join those of the bundles before it`);
      }
      edges.push(...own.slice(known.length));
    }
    return { parts, edges };
  }

  /** The bundle under `key` where it has windows [first, end), else those of a fold. */
  async #likely(key: string, fold: names.Fold, first: bigint, end: bigint): Promise<Covered[]> {
    const likely = first < end ? await this.#get(key) : null;
    return likely && likely.first <= first && end <= likely.end ? [likely] : this.#of(fold, first, end);
  }

  /** The bundles of a fold for windows [first, end), and perhaps the one before. */
  async #of(fold: names.Fold, first: bigint, end: bigint): Promise<Covered[]> {
    if (first >= end) return [];
    const prefix = names.bundles(this.#stream.id, this.#id, fold);
    const after = first > LOOK_BACK ? names.bundle(this.#stream.id, this.#id, first - LOOK_BACK - 1n, fold) : "";
    let keys = await numbered(this.#stream.store, prefix, after, end);
    if (after && !(keys[0] && names.numberIn(keys[0]) <= first)) {
      keys = await numbered(this.#stream.store, prefix, "", end);
    }
    return Promise.all(
      holding(keys, first).map(async (key) => {
        const bundle = await this.#get(key);
        if (!bundle) throw new Refused(`${key} is listed by the store but is not there`);
        return bundle;
      }),
    );
  }

  /** The bundle under a key; null where the store has none. */
  #get(key: string): Promise<Covered | null> {
    let kept = this.#kept.get(key);
    if (!kept) {
      kept = this.#read(key);
      this.#kept.set(key, kept);
      kept.then((found) => found ?? this.#kept.delete(key)).catch(() => this.#kept.delete(key));
    }
    return kept;
  }

  async #read(key: string): Promise<Covered | null> {
    const data = await this.#stream.store.get(key);
    if (!data) return null;
    const bundle = await readBundle(this.#stream.descriptor, this.#grant, key, data);
    return { ...bundle, masks: await this.#masks(bundle) };
  }
}

/** The parts of windows [first, end) that these bundles hold, in order, without overlap. */
function inOrder(bundles: Covered[], first: bigint, end: bigint): Part[] {
  const parts: Part[] = [];
  let at = first;
  for (const bundle of bundles.sort((a, b) => Number(a.first - b.first))) {
    const [from, until] = [bundle.first > at ? bundle.first : at, least(end, bundle.end)];
    if (from >= until) continue;
    parts.push({ bundle, first: from, end: until });
    at = until;
  }
  return parts;
}

/** Where [first, end) is in no part. */
function between(parts: Part[], first: bigint, end: bigint): [bigint, bigint][] {
  const gaps: [bigint, bigint][] = [];
  let at = first;
  for (const part of parts) {
    if (at < least(part.first, end)) gaps.push([at, least(part.first, end)]);
    at = part.end;
  }
  if (at < end) gaps.push([at, end]);
  return gaps;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
