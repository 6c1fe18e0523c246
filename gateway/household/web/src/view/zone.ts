// Days, weeks, months and years of a time zone.

export type Span = "day" | "week" | "month" | "year";
export const SPANS: Span[] = ["day", "week", "month", "year"];

/** A date, as ms of Unix time of its midnight in UTC: what calendars count with, wherever the day begins. */
type Day = number;

const DAY_MS = 86_400_000;

export class Zone {
  readonly name: string;
  readonly #clock: Intl.DateTimeFormat;

  /** A RangeError for a zone that the browser does not know. */
  constructor(name: string) {
    this.name = name;
    const parts = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" } as const;
    this.#clock = new Intl.DateTimeFormat("en-GB", { timeZone: name, hourCycle: "h23", ...parts });
  }

  /** What clocks show at a moment, as ms of Unix time of a clock in UTC that shows the same. */
  shown(ms: number): number {
    const part = Object.fromEntries(this.#clock.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    return Date.UTC(part["year"]!, part["month"]! - 1, part["day"]!, part["hour"]!, part["minute"]!, part["second"]!);
  }

  /** The date of a moment. */
  day(ms: number): Day {
    return Math.floor(this.shown(ms) / DAY_MS) * DAY_MS;
  }

  /** The moment with which a date begins: the first of two midnights, or when clocks jump over it. */
  begin(day: Day): number {
    const offsets = [day - DAY_MS, day + DAY_MS].map((ms) => this.shown(ms) - ms);
    const moments = offsets.map((offset) => day - offset).sort((a, b) => a - b);
    const exact = moments.find((ms) => this.shown(ms) === day);
    return exact ?? moments.find((ms) => this.day(ms) === day) ?? moments[1]!;
  }

  /** The first date of the span that holds `day`, `steps` spans later. */
  first(span: Span, day: Day, steps = 0): Day {
    const date = new Date(day);
    const [year, month, of] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
    if (span === "day") return Date.UTC(year, month, of + steps);
    if (span === "week") return Date.UTC(year, month, of - ((date.getUTCDay() + 6) % 7) + 7 * steps);
    return span === "month" ? Date.UTC(year, month + steps) : Date.UTC(year + steps, 0);
  }

  /** The moments between which the bars of a span lie: hours of a day or shorter steps, days, or the months of a year. */
  edges(span: Span, first: Day, stepMs: number): number[] {
    const end = this.first(span, first, 1);
    if (span === "day") {
      const [from, until] = [this.begin(first), this.begin(end)];
      return Array.from({ length: Math.ceil((until - from) / stepMs) + 1 }, (_, i) => Math.min(until, from + i * stepMs));
    }
    const edges = [];
    for (let day = first; day <= end; day = this.first(span === "year" ? "month" : "day", day, 1)) edges.push(this.begin(day));
    return edges;
  }
}
