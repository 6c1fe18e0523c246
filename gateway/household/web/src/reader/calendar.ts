// The UTC days and months of a stream's pages, and their steps: PROTOCOL.md, "What is stored".

import type { Descriptor } from "./objects.ts";
import type { Span } from "./names.ts";

const DAY_MS = 86_400_000n;
const LEAST_MS = { day: 60_000n, month: 900_000n }; // of a step

/** A UTC day or month of units [begin, end), and the steps of its page: `step` units each, from `first` to `end`. */
export interface Period {
  span: Span;
  name: string;
  begin: bigint;
  end: bigint;
  step: bigint;
  first: bigint;
}

export class Calendar {
  readonly #unitMs: bigint;
  readonly #start: bigint;

  private constructor(unitMs: bigint, start: bigint) {
    this.#unitMs = unitMs;
    this.#start = start;
  }

  /** The calendar of a stream; null where its unit does not divide a day, so that it has no pages. */
  static of(stream: Descriptor): Calendar | null {
    return DAY_MS % stream.unitMs ? null : new Calendar(stream.unitMs, stream.start);
  }

  /** The day or month that `unit` lies in, of the years up to 9999. */
  period(span: Span, unit: bigint): Period {
    const day = new Date(Number(unit * this.#unitMs));
    const [year, month, date] = [day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate()];
    const from = span === "day" ? Date.UTC(year, month, date) : Date.UTC(year, month);
    const until = span === "day" ? Date.UTC(year, month, date + 1) : Date.UTC(year, month + 1);
    const step = this.#step(span);
    const begin = BigInt(from) / this.#unitMs;
    const whole = ((this.#start + step - 1n) / step) * step; // where the first whole step begins
    return {
      span,
      name: new Date(from).toISOString().slice(0, span === "day" ? 10 : 7),
      begin,
      end: BigInt(until) / this.#unitMs,
      step,
      first: begin > whole ? begin : whole,
    };
  }

  /** The smallest multiple of a day's step (a day's: of a unit) that is long enough and divides a day. */
  #step(span: Span): bigint {
    const base = span === "day" ? 1n : this.#step("day");
    const day = DAY_MS / this.#unitMs;
    const least = base * this.#unitMs;
    let step = base * ((LEAST_MS[span] + least - 1n) / least);
    while (day % step) step += base;
    return step;
  }
}
