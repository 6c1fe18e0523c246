// A whole stream, from its first chunk on: whether the store still has what the gateway signed. Needs no grant.

import { digest, hex, words } from "./bytes.ts";
import type { Period } from "./calendar.ts";
import * as names from "./names.ts";
import { type Chunk, pageKind, readChunk, soFarKind } from "./objects.ts";
import { checkFollows, type FoundPage, readPage } from "./pages.ts";
import { Refused } from "./refused.ts";
import { listed } from "./store.ts";
import type { Stream } from "./stream.ts";
import { addUp } from "./sums.ts";

/** What a page should hold, as far as it was added up: `have` of the `need` units or days of its period. */
interface Sum {
  place: Period;
  sums: BigUint64Array[];
  children: string[];
  have: bigint;
  need: bigint;
}

/** Read all chunks and pages of a stream up to its head; Refused for the first that is invalid or missing. */
export async function verify(stream: Stream): Promise<void> {
  const { descriptor, store, head } = stream;
  const keys = await listed(store, names.chunks(stream.id), "", () => true);
  if (!head && keys.length) throw new Refused(`${names.head(stream.id)} is missing, and the store holds chunks`);
  const chain = stream.chain();
  chain.begin(names.descriptor(stream.id), await digest(stream.data));
  const audit = new PageAudit(stream);
  for (const key of keys) {
    const data = await store.get(key);
    if (!data) throw new Refused(`${key} is listed by the store but is not there`);
    const chunk = await readChunk(descriptor, key, data);
    const hash = await digest(data);
    chain.follow(key, chunk, hash);
    await audit.take(chunk, hex(hash));
  }
  if (head && chain.seq! < head.seq) throw new Refused(`${head.seq - chain.seq!} chunks before the head are missing`);
  await audit.finish();
}

/** The pages of a stream against what they were made of, chunk by chunk. */
class PageAudit {
  readonly #stream: Stream;
  readonly #last: { day: FoundPage | null; month: FoundPage | null } = { day: null, month: null };
  readonly #looked = new Set<string>();
  #days: Sum[] = [];
  #month: Sum | null = null;
  #end = 0n;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  async take(chunk: Chunk, hash: string): Promise<void> {
    const { calendar } = this.#stream.pages;
    if (!calendar) return;
    await this.#closeDays(chunk.first);
    const c = chunk.lanes.map(words);
    for (let at = chunk.first; at < chunk.end; ) {
      const place = calendar.period("day", at);
      if (this.#days.at(-1)?.place.name !== place.name) {
        const start = this.#stream.descriptor.start;
        this.#days.push(this.#begin(place, place.end - (place.begin > start ? place.begin : start)));
      }
      const upto = chunk.end < place.end ? chunk.end : place.end;
      add(this.#days.at(-1)!, c, chunk.first, 1n, chunk.end, hash, upto - at);
      at = upto;
    }
    this.#end = chunk.end;
  }

  async finish(): Promise<void> {
    await this.#closeDays(this.#end);
    if (this.#month && this.#month.place.end <= this.#end) await this.#close(this.#month);
    for (const folder of ["day", "month", "so-far"] as const) {
      for (const key of await listed(this.#stream.store, names.pages(this.#stream.id, folder), "", () => true)) {
        if (!this.#looked.has(key)) await this.#lookAt(folder, key);
      }
    }
  }

  /** A page or a month so far that no chunk led to, or something else. */
  async #lookAt(folder: names.Folder, key: string): Promise<void> {
    const { id, descriptor, pages, store } = this.#stream;
    const name = key.slice(names.pages(id, folder).length).replace(/\.cose$/, "");
    const noon = Date.parse(`${name}${folder === "month" ? "-01" : ""}T12:00Z`);
    const unit = Number.isNaN(noon) ? 0n : BigInt(noon) / descriptor.unitMs;
    let place = pages.calendar?.period(folder === "month" ? "month" : "day", unit);
    let [own, kind] = [place && names.page(id, place.name), pageKind];
    if (place && folder === "so-far") {
      const month = pages.calendar!.period("month", unit);
      [own, kind] = [names.soFar(id, place.name), soFarKind];
      place = place.end < month.end ? { ...month, end: place.end } : undefined; // the month has a page of its own
    }
    if (!place || place.first >= place.end || own !== key) {
      throw new Refused(`${key} is not a page that this stream can have`);
    }
    const data = await store.get(key);
    if (data) await readPage(descriptor, place, key, data, kind);
  }

  #begin(place: Period, need: bigint): Sum {
    const steps = place.first < place.end ? Number((place.end - place.first) / place.step) : 0;
    const sums = this.#stream.descriptor.lanes.map(() => new BigUint64Array(steps));
    return { place, sums, children: [], have: 0n, need };
  }

  /** Look at the pages of the days that end at or before unit `end`. */
  async #closeDays(end: bigint): Promise<void> {
    const calendar = this.#stream.pages.calendar;
    while (calendar && this.#days[0] && this.#days[0].place.end <= end) {
      const day = this.#days.shift()!;
      if (day.place.first >= day.place.end) continue;
      const page = await this.#close(day);
      const place = calendar.period("month", day.place.begin);
      if (this.#month && this.#month.place.name !== place.name) {
        if (this.#month.place.first < this.#month.place.end) await this.#close(this.#month);
        this.#month = null;
      }
      this.#month ??= this.#begin(place, (place.end - day.place.begin) / (day.place.end - day.place.begin));
      if (!page) continue;
      add(this.#month, page.c, page.first, page.step, page.end, page.digest, 1n);
      await this.#examineSoFar(this.#month, page.place);
    }
  }

  /** What is stored of a month up to the end of a day, if anything is, beside its days. */
  async #examineSoFar(month: Sum, day: Period): Promise<void> {
    const key = names.soFar(this.#stream.id, day.name);
    this.#looked.add(key);
    const data = await this.#stream.store.get(key);
    if (!data) return;
    const found = await readPage(this.#stream.descriptor, { ...month.place, end: day.end }, key, data, soFarKind);
    this.#stream.pages.checkNamed(found);
    const before = this.#last.month;
    if (before && before.place.end === month.place.begin) checkFollows(found, before);
    if (month.have < month.need - (month.place.end - day.end) / (day.end - day.begin)) return;
    if (found.children.map(hex).join() !== month.children.join()) {
      throw new Refused(`${key} lists other day pages than the store holds`);
    }
    if (found.c.some((lane, i) => lane.some((sum, k) => sum !== month.sums[i]![k]))) {
      throw new Refused(`${key}: its sums are not those of its day pages`);
    }
  }

  /** The page that should have these sums; null where the head has not passed its period. */
  async #close(right: Sum): Promise<FoundPage | null> {
    const { span } = right.place;
    const key = names.page(this.#stream.id, right.place.name);
    this.#looked.add(key);
    const data = await this.#stream.store.get(key);
    if (!data) {
      if (right.place.end <= this.#stream.head!.nextUnit) {
        throw new Refused(`${key} is missing, and the head is beyond its period`);
      }
      return (this.#last[span] = null);
    }
    const page = await readPage(this.#stream.descriptor, right.place, key, data);
    this.#stream.pages.checkNamed(page);
    const before = this.#last[span];
    if (before && before.place.end === page.place.begin) checkFollows(page, before);
    this.#last[span] = page;
    if (right.have === right.need) {
      if (page.children.map(hex).join() !== right.children.join()) {
        throw new Refused(`${key} lists other ${span === "day" ? "chunks" : "day pages"} than the store holds`);
      }
      if (page.c.some((lane, i) => lane.some((sum, k) => sum !== right.sums[i]![k]))) {
        throw new Refused(`${key}: its sums are not those of its ${span === "day" ? "chunks" : "day pages"}`);
      }
    }
    return page;
  }
}

function add(to: Sum, c: BigUint64Array[], first: bigint, step: bigint, end: bigint, hash: string, have: bigint): void {
  const { place, sums } = to;
  const edges = Array.from({ length: (sums[0]?.length ?? 0) + 1 }, (_, i) => place.first + BigInt(i) * place.step);
  const [low, high] = [first > place.first ? first : place.first, end < place.end ? end : place.end];
  if (low < high) addUp(sums, edges, c, first, step, low, high);
  to.children.push(hash);
  to.have += have;
}
