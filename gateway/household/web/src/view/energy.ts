// The energy of a view's meters, in the bars of a span.

import { type OpenGrant, openStream, type Stream } from "../reader/index.ts";
import type { Place } from "./document.ts";
import { markKept, keepMark } from "./marks.ts";
import type { storeOf } from "./store.ts";

const KWH = 1e6; // mWh

/** What was drawn from the grid and given into it in a time, in kWh; null where nothing is known. */
export interface Energy {
  start: number;
  end: number;
  up: number | null;
  down: number | null;
}

/** One meter: its stream and its grant, opened. */
export class Meter {
  readonly name: string;
  readonly stream: Stream;
  readonly grant: OpenGrant;

  private constructor(name: string, stream: Stream, grant: OpenGrant) {
    this.name = name;
    this.stream = stream;
    this.grant = grant;
  }

  static async open(store: ReturnType<typeof storeOf>, place: Place): Promise<Meter> {
    const stream = await openStream(store.get, store.list, place.s, place.k, markKept(place.s));
    keepMark(place.s, stream.seen);
    return new Meter(place.name, stream, await stream.grant(place.g, place.k0));
  }

  /** Whether it opens energy. */
  get measures(): boolean {
    return this.#lane("import") >= 0 || this.#lane("export") >= 0;
  }

  /** The moment up to which units are sealed; null where none is. */
  get sealedUntil(): number | null {
    const { head, descriptor } = this.stream;
    return head && Number(head.nextUnit * descriptor.unitMs);
  }

  /** The moment at which the grant ended, or will end; null where it has no end. */
  get limit(): number | null {
    return this.grant.limit === null ? null : Number(this.grant.limit * this.stream.descriptor.unitMs);
  }

  /** The moment with which its first window begins. */
  get begin(): number {
    return Number(this.grant.body.first * this.stream.descriptor.unitMs);
  }

  /** How long its windows are at least, in ms. */
  get windowMs(): number {
    const { granularity } = this.grant.body;
    return typeof granularity === "bigint" ? Number(granularity * this.stream.descriptor.unitMs) : 86_400_000;
  }

  /** The energy between edges that rise. */
  async energy(edges: number[]): Promise<Energy[]> {
    const totals = await this.grant.totals(edges);
    const [up, down] = [this.#lane("import"), this.#lane("export")];
    const kwh = (sums: bigint[] | null | undefined, lane: number) => (sums && lane >= 0 ? Number(sums[lane]!) / KWH : null);
    return edges.slice(1).map((end, i) => ({
      start: edges[i]!,
      end,
      up: kwh(totals[i], up),
      down: kwh(totals[i], down),
    }));
  }

  #lane(name: string): number {
    return this.grant.body.lanes.indexOf(name);
  }
}
