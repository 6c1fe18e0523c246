// A grant of sums of windows, opened by its first key.

import { be64, type Bytes, concat, hex, same } from "./bytes.ts";
import { Bundles, type Part } from "./bundles.ts";
import { commitment, difference, KeyChain, masks } from "./keys.ts";
import * as names from "./names.ts";
import { type Bundle, type Grant, readAt, readGrant, revocationKind, width } from "./objects.ts";
import { NotFound, Refused, WrongKey } from "./refused.ts";
import type { Stream } from "./stream.ts";

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
  #checked = false;

  private constructor(stream: Stream, body: Grant, revokedFrom: bigint | null, k0: Bytes) {
    this.#stream = stream;
    this.body = body;
    this.revoked = revokedFrom !== null && (body.until === null || revokedFrom < body.until);
    this.limit = this.revoked ? revokedFrom : body.until;
    this.#bundles = new Bundles(stream, body);
    this.#chain = new KeyChain(k0);
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
    const head = this.#stream.head;
    if (!head) return [];
    const { unitMs } = this.#stream.descriptor;
    const from = (BigInt(Math.ceil(fromMs)) + unitMs - 1n) / unitMs;
    const until = [BigInt(Math.floor(untilMs)) / unitMs, head.nextUnit, this.limit ?? head.nextUnit];
    const upto = until.reduce((a, b) => (a < b ? a : b));
    const { parts, edges } = await (typeof this.body.granularity === "string"
      ? this.#calendar(from, upto)
      : this.#whole(this.body.granularity, from, upto));
    const [first, end] = [parts[0]?.first ?? 0n, parts.at(-1)?.end ?? 0n];
    const bounds = edges.slice(0, Number(end - first) + 1);
    if (bounds.length < 2) return [];
    const [c, r] = await Promise.all([this.#stream.sums(bounds, this.#lanes), this.#nonces(parts)]);
    const ms = (unit: bigint) => Number(unit * unitMs);
    return bounds.slice(1).map((edge, i) => ({
      start: ms(bounds[i]!),
      end: ms(edge),
      lanes: c.map((sums, lane) => BigInt.asIntN(64, sums[i]! - r[i * c.length + lane]!)),
    }));
  }

  /** The parts of windows of `size` units in units [from, upto), and the edges of them all. */
  async #whole(size: bigint, from: bigint, upto: bigint): Promise<{ parts: Part[]; edges: bigint[] }> {
    const begin = this.body.first;
    const first = from <= begin ? 0n : (from - begin + size - 1n) / size;
    const complete = (unit: bigint) => (unit < begin ? 0n : (unit - begin) / size);
    const end = complete(upto);
    if (first >= end) return { parts: [], edges: [] };
    const [month, day] = [complete(this.#stream.underWay("month")), complete(this.#stream.underWay("day"))];
    const parts = await this.#bundles.read(first, end, { month, day });
    const edges = Array.from({ length: Number(end - first) + 1 }, (_, i) => begin + (first + BigInt(i)) * size);
    return { parts, edges };
  }

  /** The same of calendar windows, which are what the bundles say. */
  async #calendar(from: bigint, upto: bigint): Promise<{ parts: Part[]; edges: bigint[] }> {
    const { parts, edges } = await this.#bundles.all();
    const first = edges.findIndex((edge) => edge >= from);
    const end = edges.findLastIndex((edge) => edge <= upto);
    if (first < 0 || first >= end) return { parts: [], edges: [] };
    const [x, y] = [BigInt(first), BigInt(end)];
    const cut = parts.map((part) => ({ ...part, first: part.first > x ? part.first : x, end: part.end < y ? part.end : y }));
    return { parts: cut.filter((part) => part.first < part.end), edges: edges.slice(first, end + 1) };
  }

  /** The nonces R of the windows of all parts, those of a window's lanes side by side. */
  async #nonces(parts: Part[]): Promise<BigUint64Array> {
    await this.#checkKey(parts.map(({ bundle }) => bundle));
    const opened = await Promise.all(parts.map(({ bundle, first, end }) => this.#words(bundle, first, end)));
    const all = new BigUint64Array(opened.reduce((length, words) => length + words.length, 0));
    let at = 0;
    for (const words of opened) {
      all.set(words, at);
      at += words.length;
    }
    return all;
  }

  async #words(bundle: Bundle, first: bigint, end: bigint): Promise<BigUint64Array<ArrayBuffer>> {
    const lanes = width(this.body);
    const [x, y] = [Number(first - bundle.first), Number(end - bundle.first)];
    const masked = await masks(this.#chain, "gw1/tokens", bundle.sealed, first, end, 8 * lanes, cuts(bundle).slice(x, y));
    return difference(bundle.words.subarray(x * lanes, y * lanes), masked);
  }

  /** WrongKey unless the shortest of the bundles that commit to what they hold, holds that under this key. Once: tokens
   * have no tags, and under another key they would open to any numbers. */
  async #checkKey(bundles: Bundle[]): Promise<void> {
    if (this.#checked) return;
    const bundle = bundles.filter((one) => one.commitment).sort((a, b) => a.words.length - b.words.length)[0];
    if (bundle) {
      const { first, end } = bundle;
      const words = await this.#words(bundle, first, end);
      const openings = await masks(this.#chain, "gw1/openings", bundle.sealed, first, end, 32, cuts(bundle));
      const found = await commitment(openings, new Uint8Array(words.buffer), width(this.body));
      if (!same(found, bundle.commitment!)) throw new WrongKey(`this key is not that of grant ${hex(this.body.id)}`);
    }
    this.#checked = true;
  }
}

/** How each window of a bundle was cut, where a time zone has a say in it. */
function cuts(bundle: Bundle): Bytes[] {
  const edges = bundle.edges ?? [];
  return edges.slice(1).map((edge, i) => concat(be64(edges[i]!), be64(edge)));
}
