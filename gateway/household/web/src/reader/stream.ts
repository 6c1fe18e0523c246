// A stream in a store that nobody trusts. What is invalid is Refused, and nothing is handed out unchecked.

import { type Bytes, digest, hex, unhex, words } from "./bytes.ts";
import { Chain, type Mark, markOf, sameMark } from "./chain.ts";
import { OpenGrant } from "./grant.ts";
import * as names from "./names.ts";
import { type Chunk, type Descriptor, type Head, headKind, readAt, readChunk, readPinned } from "./objects.ts";
import { Pages } from "./pages.ts";
import { NotFound, Refused, RolledBack } from "./refused.ts";
import { type Get, holding, type List, numbered, type Store } from "./store.ts";
import { addUp } from "./sums.ts";

const AT_ONCE = 8; // chunks that are on their way
const MOST_KEPT = 256; // chunks: more than a day has of the default length
const CHUNK_UNITS = 900n; // the default length of chunks, by which the key of the last one is guessed

/** The stream `stream` whose signing key is `kid`, both in hex, with its head read. `seen` is the mark that an earlier
 * reader kept: the store may show no older state. NotFound where the store has nothing of the stream. */
export async function openStream(
  get: Get,
  list: List,
  stream: string,
  kid: string,
  seen: Mark | null = null,
): Promise<Stream> {
  const key = names.descriptor(stream);
  const [data, head] = await Promise.all([get(key), get(names.head(stream))]);
  if (!data) {
    if (head) throw new Refused(`${key} is missing, and the store holds other objects of the stream`);
    throw new NotFound(`the store holds no stream ${stream}`);
  }
  const opened = new Stream({ get, list }, stream, data, await readPinned(key, data, kid), seen);
  await opened.take(head);
  return opened;
}

export class Stream {
  readonly id: string;
  readonly descriptor: Descriptor;
  readonly store: Store;
  readonly pages: Pages;
  /** What its first chunk follows. */
  readonly data: Bytes;
  /** Null in a stream that has no chunk yet. */
  head: Head | null = null;
  /** What to give to the next reader as `seen`, so that the store cannot go back. */
  seen: Mark | null;
  readonly #kept = new Map<string, Promise<[Chunk, Bytes]>>();

  constructor(store: Store, id: string, data: Bytes, descriptor: Descriptor, seen: Mark | null) {
    this.store = store;
    this.id = id;
    this.data = data;
    this.descriptor = descriptor;
    this.pages = new Pages(descriptor, store);
    this.seen = seen;
  }

  /** Read the head again. */
  async refresh(): Promise<void> {
    await this.take(await this.store.get(names.head(this.id)));
  }

  /** Take the head in `data`: valid, not older than the one seen last, and the one that the chain leads up to. */
  async take(data: Bytes | null): Promise<void> {
    const key = names.head(this.id);
    const seen = this.seen;
    if (!data) {
      if (seen) throw new RolledBack(`${key} is missing, and a head with chunk number ${seen.seq} was seen before`);
      return;
    }
    const head = await readAt(headKind, key, data, this.descriptor.signer, this.descriptor.unitMs);
    if (head.nextUnit <= this.descriptor.start) throw new Refused(`${key} lies before the stream's start`);
    const mark = { seq: head.seq, digest: hex(head.digest), nextUnit: head.nextUnit };
    if (seen && head.seq < seen.seq) {
      throw new RolledBack(`${key} ends with chunk number ${head.seq}, and number ${seen.seq} was seen before`);
    }
    if (seen && head.seq === seen.seq && mark.digest !== seen.digest) {
      throw new RolledBack(`${key} names another chunk number ${head.seq} than was seen before`);
    }
    if (!seen || !this.head || !sameMark(seen, mark)) await this.#checkEnd(mark, `${key} names`, Refused);
    if (seen && seen.seq < mark.seq) await this.#checkEnd(seen, "was seen there before", RolledBack);
    this.head = head;
    this.pages.name(head);
    this.seen = mark;
  }

  /** How long ago the head was made, in ms, at `nowMs`. */
  age(nowMs: number): number {
    return this.head ? nowMs - Number(this.head.timeMs) : Infinity;
  }

  /** The first unit of the day or month that is under way at the head; 0 in a stream without pages. */
  underWay(span: names.Span): bigint {
    return this.head && this.pages.calendar ? this.pages.calendar.period(span, this.head.nextUnit).begin : 0n;
  }

  /** A grant of sums of windows that K_0, both in hex, opens. NotFound where the store does not hold it. */
  async grant(id: string, k0: string): Promise<OpenGrant> {
    return OpenGrant.open(this, id, unhex(k0));
  }

  /** The sums of ciphertexts, modulo 2^64, of lanes of the stream by number, over the windows between edges that rise
   * from the stream's start to its head: from pages where the edges lie on their steps, else from chunks. */
  async sums(edges: bigint[], lanes: number[]): Promise<BigUint64Array[]> {
    const sums = lanes.map(() => new BigUint64Array(Math.max(0, edges.length - 1)));
    if (edges.length < 2) return sums;
    const chain = this.chain();
    const from = this.underWay("day"); // from where on there are no pages
    const ahead = from > edges[0]! && from < edges.at(-1)! ? this.#ahead(from, edges.at(-1)!) : null;
    if (ahead) this.pages.get(this.pages.calendar!.period("day", from - 1n)).catch(() => null); // it fails in its turn
    let before = false;
    for (const { first, end, page } of await this.pages.covering(edges, this.underWay("day"))) {
      if (page) {
        addUp(sums, edges, lanes.map((lane) => page.c[lane]!), page.first, page.step, first, end);
      } else {
        const day = before ? await this.pages.get(this.pages.calendar!.period("day", first - 1n)) : null;
        chain.stepOver(first, day && { key: day.key, child: day.children.at(-1)! });
        const keys = await (first === from && ahead ? ahead : this.#keys(first, end));
        for await (const chunk of this.#chunks(keys, first, end, chain)) {
          const low = chunk.first > first ? chunk.first : first;
          const high = chunk.end < end ? chunk.end : end;
          addUp(sums, edges, lanes.map((lane) => words(chunk.lanes[lane]!)), chunk.first, 1n, low, high);
        }
      }
      before = page !== null;
    }
    return sums;
  }

  /** A walk along the chain, which must contain the head's chunk. */
  chain(): Chain {
    return new Chain(this.descriptor, this.seen ? [[`${names.head(this.id)} names`, this.seen]] : []);
  }

  /** The checked chunks that hold units [first, end), in order and without a hole. */
  async *#chunks(keys: string[], first: bigint, end: bigint, chain: Chain): AsyncGenerator<Chunk> {
    let needed = first;
    for (const [i, key] of keys.entries()) {
      for (const next of keys.slice(i + 1, i + AT_ONCE)) this.#chunk(next).catch(() => null); // it fails in its turn
      const [chunk, hash] = await this.#chunk(key);
      chain.follow(key, chunk, hash);
      if (chunk.first > needed || chunk.end <= needed) break;
      needed = chunk.end;
      yield chunk;
    }
    if (needed < end) throw new Refused(`the chunk with unit ${needed} is missing: the units from there on are in no other`);
  }

  /** The keys of the chunks that hold units [first, end). */
  async #keys(first: bigint, end: bigint): Promise<string[]> {
    return holding(await this.#inLink(first, end), first);
  }

  /** The same keys, whose chunks are asked for at once: so that they come beside the pages before them. */
  #ahead(first: bigint, end: bigint): Promise<string[]> {
    const keys = this.#keys(first, end);
    const asked = keys.then((found) => found.slice(0, MOST_KEPT - AT_ONCE).map((key) => this.#chunk(key).catch(() => null)));
    asked.catch(() => null); // whoever waits for the keys meets it
    return keys;
  }

  /** The chunk under a key that the store listed, and its digest. The last ones are kept: they never change. */
  #chunk(key: string): Promise<[Chunk, Bytes]> {
    let kept = this.#kept.get(key);
    if (!kept) {
      kept = this.store.get(key).then(async (data) => {
        if (!data) throw new Refused(`${key} is listed by the store but is not there`);
        return [await readChunk(this.descriptor, key, data), await digest(data)];
      });
      kept.catch(() => this.#kept.delete(key));
      if (this.#kept.size >= MOST_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
      this.#kept.set(key, kept);
    }
    return kept;
  }

  /** The keys of the chunks from the start of `unit`'s link on; none that begins earlier holds it. */
  async #inLink(unit: bigint, end: bigint): Promise<string[]> {
    const start = unit - (unit % this.descriptor.linkUnits);
    return numbered(this.store, names.chunks(this.id), start ? this.#name(start - 1n) : "", end);
  }

  #name(unit: bigint): string {
    return names.chunk(this.id, unit, this.descriptor.unitMs);
  }

  /** Refused unless the chunk that ends where `mark` does is the chunk of that mark, or its day lists it. */
  async #checkEnd(mark: Mark, who: string, error: typeof Refused): Promise<void> {
    const last = mark.nextUnit - 1n;
    const likely = this.#name(last - ((last % this.descriptor.linkUnits) % CHUNK_UNITS));
    const data = await this.store.get(likely);
    if (data && (await this.#is(mark, likely, data).catch(() => false))) return; // it is read again, and refused
    const key = (await this.#inLink(last, mark.nextUnit)).at(-1);
    const found = key ? await this.store.get(key) : null;
    const chunk = key && found ? await readChunk(this.descriptor, key, found) : null;
    if (!chunk || chunk.end < mark.nextUnit) {
      // A lifecycle rule may have let the chunk expire; the page of its day still lists it.
      const day = this.pages.calendar && (await this.pages.get(this.pages.calendar.period("day", last)));
      if (day?.children.some((child) => hex(child) === mark.digest)) return;
    }
    if (!chunk || !key || !found) {
      throw new error(`the chunk number ${mark.seq} that ${who} is missing: it ends at unit ${mark.nextUnit}`);
    }
    if (!sameMark(markOf(chunk, await digest(found)), mark)) {
      throw new error(`${key} is not the chunk number ${mark.seq} that ${who}`);
    }
  }

  async #is(mark: Mark, key: string, data: Bytes): Promise<boolean> {
    return sameMark(markOf(await readChunk(this.descriptor, key, data), await digest(data)), mark);
  }
}
