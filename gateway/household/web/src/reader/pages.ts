// Day and month pages, and months so far: sums of ciphertexts over their steps, each checked by itself and beside its neighbours.

import { type Bytes, digest, hex, words } from "./bytes.ts";
import { Calendar, type Period } from "./calendar.ts";
import * as names from "./names.ts";
import { type Descriptor, type Head, type Kind, pageKind, type Page, readAt, soFarKind } from "./objects.ts";
import { Refused } from "./refused.ts";
import type { Store } from "./store.ts";
import { addUp, search } from "./sums.ts";

export interface FoundPage extends Page {
  key: string;
  place: Period;
  digest: string; // H, in hex
  c: BigUint64Array<ArrayBuffer>[]; // of each lane
}

/** The page of a period, under its key; Refused unless it is valid by itself. */
export async function readPage(
  stream: Descriptor,
  place: Period,
  key: string,
  data: Bytes,
  kind: Kind<Page> = pageKind,
): Promise<FoundPage> {
  const page = await readAt(kind, key, data, stream.signer, stream.unitMs);
  if (page.sums.length !== stream.lanes.length) throw new Refused(`${key} holds ${page.sums.length} lanes`);
  if (page.step !== place.step || page.first !== place.first || page.end !== place.end) {
    throw new Refused(`${key} holds ${page.count} steps of ${page.step} units from unit ${page.first}: its period has others`);
  }
  return { ...page, key, place, digest: hex(await digest(data)), c: page.sums.map(words) };
}

/** Refused unless `page` was made to follow the page `before` of its kind. */
export function checkFollows(page: FoundPage, before: FoundPage): void {
  if (page.previous === null || hex(page.previous) !== before.digest) {
    throw new Refused(`${before.key} is not the object that ${page.key} was made to follow: replaced`);
  }
}

/** Refused unless a month lists its day and has its sums, or the first day after it follows its last. */
function checkListed(day: FoundPage, month: FoundPage): void {
  if (month.place.begin <= day.place.begin && day.place.begin < month.place.end) {
    if (!month.children.some((child) => hex(child) === day.digest)) {
      throw new Refused(`${day.key} is not among the pages that ${month.key} lists: replaced`);
    }
    const first = day.place.begin > month.first ? day.place.begin : month.first;
    const from = Number((first - month.first) / month.step);
    const edges = Array.from({ length: Number((day.end - first) / month.step) + 1 }, (_, i) => first + BigInt(i) * month.step);
    const sums = day.c.map(() => new BigUint64Array(edges.length - 1));
    addUp(sums, edges, day.c, day.first, day.step, first, day.end);
    if (sums.some((lane, i) => lane.some((sum, k) => sum !== month.c[i]![from + k]))) {
      throw new Refused(`${month.key}: its sums are not those of ${day.key}`);
    }
  } else if (day.place.begin === month.place.end) {
    if (day.previous === null || hex(day.previous) !== hex(month.children.at(-1)!)) {
      throw new Refused(`${day.key} does not go on where ${month.key} ends: it is of another history`);
    }
  }
}

/** The pages of one stream. Those that were read are kept: they never change, and each must fit the others. */
export class Pages {
  readonly calendar: Calendar | null;
  readonly #stream: Descriptor;
  readonly #store: Store;
  readonly #kept = new Map<string, FoundPage>();
  #named: { end: bigint; day: Bytes | null } = { end: 0n, day: null }; // the page that the head names
  readonly #asked = new Map<string, Promise<FoundPage | null>>(); // and not there yet

  constructor(stream: Descriptor, store: Store) {
    this.calendar = Calendar.of(stream);
    this.#stream = stream;
    this.#store = store;
  }

  /** Take the digest that a valid head gives of the last day's page. */
  name(head: Head): void {
    this.#named = { end: this.calendar ? this.calendar.period("day", head.nextUnit).begin : 0n, day: head.day };
  }

  /** The page of a period; null where the store has none. */
  async get(place: Period): Promise<FoundPage | null> {
    return this.#once(names.page(hex(this.#stream.stream), place.name), place, pageKind);
  }

  /** The sums of a month up to unit `end`, where a day of it ends; null where the store has none. */
  async soFar(month: Period, end: bigint): Promise<FoundPage | null> {
    const day = this.calendar!.period("day", end - 1n).name;
    return this.#once(names.soFar(hex(this.#stream.stream), day), { ...month, end }, soFarKind);
  }

  async #once(key: string, place: Period, kind: Kind<Page>): Promise<FoundPage | null> {
    const kept = this.#kept.get(key);
    if (kept) return kept;
    let asked = this.#asked.get(key);
    if (!asked) {
      asked = this.#read(key, place, kind).finally(() => this.#asked.delete(key));
      this.#asked.set(key, asked);
    }
    return asked;
  }

  async #read(key: string, place: Period, kind: Kind<Page>): Promise<FoundPage | null> {
    const data = await this.#store.get(key);
    if (data === null) return null;
    const page = await readPage(this.#stream, place, key, data, kind);
    this.checkNamed(page);
    for (const other of this.#kept.values()) {
      const [day, month] = place.span === "day" ? [page, other] : [other, page];
      if (other.place.span !== place.span) checkListed(day, month);
      else if (other.place.end === place.begin) checkFollows(page, other);
      else if (other.place.begin === place.end) checkFollows(other, page);
    }
    this.#kept.set(key, page);
    return page;
  }

  /** Refused where the head names another page of the day with which this one ends. */
  checkNamed({ place, key, digest, children }: FoundPage): void {
    const { end, day } = this.#named;
    if (!day || place.end !== end) return;
    const [head, whole] = [names.head(hex(this.#stream.stream)), place.span === "day"];
    if (hex(day) === (whole ? digest : hex(children.at(-1)!))) return;
    throw new Refused(`${key} ${whole ? "is not the page that" : "does not end with the day that"} ${head} names: replaced`);
  }

  /** The units between edges that rise, in parts: each with the page that stands for it, or none. A page has no edge
   * inside a step, and is over at unit `over`. */
  async covering(edges: bigint[], over: bigint): Promise<Part[]> {
    const [first, end] = [edges[0]!, edges.at(-1)!];
    const all: Part = { first, end, page: null };
    const calendar = this.calendar;
    if (!calendar) return [all];
    const day = calendar.period("day", first);
    const spans: names.Span[] = end - first > 2n * (day.end - day.begin) ? ["month", "day"] : ["day", "month"];
    return join(await this.#divided(calendar, spans, all, edges, over));
  }

  /** A part cut at the borders of its first span, days or months: each with its page, or else cut at those of the next. */
  async #divided(calendar: Calendar, spans: names.Span[], part: Part, edges: bigint[], over: bigint): Promise<Part[]> {
    const [span, ...others] = spans;
    if (!span) return [part];
    const found: Promise<Part[]>[] = [];
    for (let first = part.first; first < part.end; ) {
      const place = calendar.period(span, first);
      const day = calendar.period("day", first);
      const underWay = span === "month" && first < over && over < place.end;
      const end = underWay ? over : place.end; // of the month under way, its days that are over
      const cut: Part = { first, end: end < part.end ? end : part.end, page: null };
      const fits = place.first <= first && end <= over && wholeSteps(edges, cut.first, cut.end, place);
      const divided = () => this.#divided(calendar, others, cut, edges, over);
      const asked = () => (underWay ? this.soFar(place, over) : this.get(place));
      if (span === "month" && cut.end <= day.end && others.length) {
        found.push(this.#divided(calendar, ["day", "month"], cut, edges, over)); // the day's page is the smaller one
      } else {
        found.push(fits ? asked().then((page) => (page ? [{ ...cut, page }] : divided())) : divided());
      }
      first = cut.end;
    }
    return (await Promise.all(found)).flat();
  }
}

/** Units [first, end), and the page that has their sums, null where chunks have them. */
export interface Part {
  first: bigint;
  end: bigint;
  page: FoundPage | null;
}

/** Whether no edge from unit `x` to `y`, nor `x` itself, lies inside a step of `place`. */
function wholeSteps(edges: bigint[], x: bigint, y: bigint, place: Period): boolean {
  const whole = (unit: bigint) => (unit - place.first) % place.step === 0n;
  if (!whole(x)) return false;
  for (let i = search(edges, x); i < edges.length && edges[i]! <= y; i++) {
    if (!whole(edges[i]!)) return false;
  }
  return true;
}

/** Neighbours without a page become one part. */
function join(parts: Part[]): Part[] {
  const joined: Part[] = [];
  for (const part of parts) {
    const last = joined.at(-1);
    if (last && !last.page && !part.page) last.end = part.end;
    else joined.push(part);
  }
  return joined;
}
