// A grant of sums of windows, opened by its first key.

import { be64, type Bytes, concat, hex, same, words } from "./bytes.ts";
import { Bundles, type Covered, type Part } from "./bundles.ts";
import { commitment, difference, KeyChain, type Label, masks, OPENING_BYTES } from "./keys.ts";
import * as names from "./names.ts";
import { type Bundle, type Grant, readAt, readGrant, revocationKind, width } from "./objects.ts";
import { NotFound, Refused, WrongKey } from "./refused.ts";
import type { Stream } from "./stream.ts";
import { search, total } from "./sums.ts";

const SHORT = 100n; // windows: a day's quarter hours

/** A window, from `start` to `end` in Unix ms, and its sum in each of the grant's lanes. */
export interface Window {
  start: number;
  end: number;
  lanes: bigint[];
}

export class OpenGrant {
  readonly body: Grant;
  /** The unit from which on it opens nothing more, by its end or a revocation; null where there is none. */
  readonly limit: bigint | null;
  readonly revoked: boolean;
  readonly #stream: Stream;
  readonly #bundles: Bundles;
  readonly #chain: KeyChain;
  readonly #lanes: number[];
  #check: Promise<void> | null = null;

  private constructor(stream: Stream, body: Grant, revokedFrom: bigint | null, k0: Bytes) {
    this.#stream = stream;
    this.body = body;
    this.revoked = revokedFrom !== null && (body.until === null || revokedFrom < body.until);
    this.limit = this.revoked ? revokedFrom : body.until;
    this.#chain = new KeyChain(k0);
    this.#bundles = new Bundles(stream, body, (bundle) => this.#uncover(bundle));
    this.#lanes = body.lanes.map((lane) => stream.descriptor.laneNames.indexOf(lane));
  }

  static async open(stream: Stream, id: string, k0: Bytes): Promise<OpenGrant> {
    const { descriptor, store, head } = stream;
    const [key, revokedKey] = [names.grant(stream.id, id), names.revocation(stream.id, id)];
    const named = head?.revoked?.map(hex);
    const asked = named === undefined || named.includes(id);
    const [data, revoked] = await Promise.all([store.get(key), asked ? store.get(revokedKey) : null]);
    if (!data) throw new NotFound(`${key} is missing: the store holds no such grant`);
    const body = await readGrant(descriptor, key, data);
    if (body.kind !== "windows") throw new Refused(`${key} is a grant of kind ${body.kind}, which opens no sums of windows`);
    if (named?.includes(id) && !revoked) {
      throw new Refused(`${revokedKey} is missing, and the head names its grant among those that were revoked`);
    }
    const revocation = revoked && (await readAt(revocationKind, revokedKey, revoked, descriptor.signer, descriptor.unitMs));
    return new OpenGrant(stream, body, revocation && revocation.fromUnit, k0);
  }

  /** The granted windows that lie in [fromMs, untilMs), Unix ms, and have ended, in order: as far as their tokens are
   * there. Refused for an object that is invalid or missing; WrongKey where K_0 is not the grant's. */
  async windows(fromMs: number, untilMs: number): Promise<Window[]> {
    const plan = await this.#plan(fromMs, untilMs);
    const numbers = Array.from({ length: Number(plan.end - plan.first) + 1 }, (_, i) => plan.first + BigInt(i));
    const { bounds, sums } = await this.#sums(plan, numbers);
    return bounds.slice(1).map((bound, i) => ({
      start: this.#ms(plan.edge(bounds[i]!)),
      end: this.#ms(plan.edge(bound)),
      lanes: sums.map((lane) => BigInt.asIntN(64, lane[i]!)),
    }));
  }

  /** The sums of the same windows between edges in Unix ms that rise, a number for each lane: a window belongs to where
   * it begins. Null where there is no window. */
  async totals(edgesMs: number[]): Promise<(bigint[] | null)[]> {
    const plan = await this.#plan(edgesMs[0]!, edgesMs.at(-1)!);
    const starts = edgesMs.map((ms) => within(plan.number(this.#unit(ms)), plan.first, plan.end));
    const { bounds, sums } = await this.#sums(plan, [...new Set([...starts, plan.end])]);
    const places = starts.map((start) => search(bounds, start));
    return edgesMs.slice(1).map((_, i) => {
      const [from, until] = [places[i]!, Math.min(places[i + 1]!, bounds.length - 1)];
      return from < until ? sums.map((lane) => BigInt.asIntN(64, lane[from]!)) : null;
    });
  }

  /** Which windows lie in [fromMs, untilMs), are granted and have ended. */
  async #plan(fromMs: number, untilMs: number): Promise<Plan> {
    const head = this.#stream.head;
    const until = [BigInt(Math.floor(untilMs)) / this.#stream.descriptor.unitMs, head?.nextUnit ?? 0n];
    if (this.limit !== null) until.push(this.limit);
    const upto = until.reduce((a, b) => (a < b ? a : b));
    const from = this.#unit(fromMs);
    return typeof this.body.granularity === "string"
      ? this.#calendar(from, upto)
      : this.#whole(this.body.granularity, from, upto);
  }

  /** Windows of `size` units. */
  #whole(size: bigint, from: bigint, upto: bigint): Plan {
    const begin = this.body.first;
    const number = (unit: bigint) => (unit <= begin ? 0n : (unit - begin + size - 1n) / size);
    const complete = (unit: bigint) => (unit < begin ? 0n : (unit - begin) / size);
    const first = number(from);
    const end = complete(upto) > first ? complete(upto) : first;
    const folded = { month: complete(this.#stream.underWay("month")), day: complete(this.#stream.underWay("day")) };
    return { first, end, number, edge: (j) => begin + j * size, parts: () => this.#bundles.read(first, end, folded) };
  }

  /** Calendar windows, which are what the bundles say. */
  async #calendar(from: bigint, upto: bigint): Promise<Plan> {
    const { parts, edges } = await this.#bundles.all();
    const number = (unit: bigint) => BigInt(search(edges, unit));
    const first = within(number(from), 0n, BigInt(edges.length - 1));
    const end = within(number(upto + 1n) - 1n, first, BigInt(edges.length - 1));
    const cut = parts.map((part) => ({ ...part, first: within(part.first, first, end), end: within(part.end, first, end) }));
    const own = cut.filter((part) => part.first < part.end);
    return { first, end, number, edge: (j) => edges[Number(j)]!, parts: async () => own };
  }

  /** The sums modulo 2^64 of the windows between numbers that rise, from the plan's first to its end: of each lane, as
   * far as there are tokens. `bounds` are the numbers up to there. */
  async #sums(plan: Plan, bounds: bigint[]): Promise<{ bounds: bigint[]; sums: BigUint64Array[] }> {
    if (plan.first === plan.end) return { bounds: [plan.first], sums: this.#lanes.map(() => new BigUint64Array()) };
    const [parts, sums] = await Promise.all([plan.parts(), this.#stream.sums(bounds.map(plan.edge), this.#lanes)]);
    const end = parts.at(-1)?.end ?? plan.first;
    if (end < plan.end) return this.#sums({ ...plan, end, parts: async () => parts }, [...bounds.filter((j) => j < end), end]);
    await this.#checkKey(parts.map(({ bundle }) => bundle));
    let at = 0; // between which bounds
    for (const { bundle, first, end } of parts) {
      for (let x = first; x < end; ) {
        const next = bounds[at + 1]!;
        const y = next < end ? next : end;
        const [from, until] = [Number(x - bundle.first) * sums.length, Number(y - bundle.first) * sums.length];
        for (const [lane, sum] of sums.entries()) {
          const opened = [bundle.words, bundle.masks].map((held) => total(held, from + lane, until, sums.length));
          sum[at]! -= opened[0]! - opened[1]!; // the array wraps
        }
        if (y === next) at++;
        x = y;
      }
    }
    return { bounds, sums };
  }

  #ms(unit: bigint): number {
    return Number(unit * this.#stream.descriptor.unitMs);
  }

  /** The first unit that begins at or after a moment. */
  #unit(ms: number): bigint {
    const { unitMs } = this.#stream.descriptor;
    return (BigInt(Math.ceil(ms)) + unitMs - 1n) / unitMs;
  }

  /** The keystream at the places of a bundle's tokens, or of the openings of its commitment. */
  #masks(label: Label, bundle: Bundle): Promise<Bytes> {
    const size = label === "gw1/tokens" ? 8 * width(this.body) : OPENING_BYTES;
    return masks(this.#chain, label, bundle.sealed, bundle.first, bundle.end, size, cuts(bundle));
  }

  /** The words that hide a bundle's tokens. The first short one begins the check of the key, while others come. */
  async #uncover(bundle: Bundle): Promise<BigUint64Array<ArrayBuffer>> {
    const found = words(await this.#masks("gw1/tokens", bundle));
    if (bundle.commitment && bundle.end - bundle.first <= SHORT && !this.#check) {
      this.#check = this.#fits({ ...bundle, masks: found });
      this.#check.catch(() => null); // whoever waits for the check meets it
    }
    return found;
  }

  /** WrongKey unless a short one, or else the shortest, of the bundles that commit to what they hold, holds that under
   * this key. Once: tokens have no tags, and under another key they would open to any numbers. */
  async #checkKey(bundles: Covered[]): Promise<void> {
    const shortest = bundles.filter((one) => one.commitment).sort((a, b) => a.words.length - b.words.length)[0];
    await (this.#check ??= shortest ? this.#fits(shortest) : null);
  }

  async #fits(bundle: Covered): Promise<void> {
    const opened = difference(bundle.words, new Uint8Array(bundle.masks.buffer));
    const openings = await this.#masks("gw1/openings", bundle);
    const found = await commitment(openings, new Uint8Array(opened.buffer), width(this.body));
    if (!same(found, bundle.commitment!)) throw new WrongKey(`this key is not that of grant ${hex(this.body.id)}`);
  }
}

/** Windows `first` to `end` - 1: where each begins, which is the first that begins at or after a unit, and the bundles
 * that hold their tokens. */
interface Plan {
  first: bigint;
  end: bigint;
  edge: (j: bigint) => bigint;
  number: (unit: bigint) => bigint;
  parts: () => Promise<Part[]>;
}

function within(number: bigint, least: bigint, most: bigint): bigint {
  return number < least ? least : number > most ? most : number;
}

/** How each window of a bundle was cut, where a time zone has a say in it. */
function cuts(bundle: Bundle): Bytes[] {
  const edges = bundle.edges ?? [];
  return edges.slice(1).map((edge, i) => concat(be64(edges[i]!), be64(edge)));
}
