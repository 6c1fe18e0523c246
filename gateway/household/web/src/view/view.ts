// A view: the energy of a home, read from a store that nobody trusts, in one page without a server.

import { NotFound, Refused, RolledBack, WrongKey } from "../reader/index.ts";
import { type Bar, chart } from "./chart.ts";
import { type View, viewOf } from "./document.ts";
import { type Energy, Meter } from "./energy.ts";
import { keepMark } from "./marks.ts";
import { storeOf, StoreTrouble } from "./store.ts";
import { type Words, wordsOf } from "./words.ts";
import { type Span, SPANS, Zone } from "./zone.ts";

const LATE_MS = 2 * 3_600_000; // after which a head is called old
const FRESH_MS = 60_000; // within which the head is not read again
const LEAST_STEP_MS = 900_000; // of a day's bars

const part = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

class Page {
  readonly #view: View;
  readonly #words: Words;
  readonly #tag: string;
  readonly #zone: Zone;
  readonly #store: ReturnType<typeof storeOf>;
  readonly #meters = new Map<number, Promise<Meter>>();
  #which = 0;
  #span: Span = "day";
  #day: number;
  #read = 0; // when the head was
  #turn = 0; // counts what was asked for: what comes late is not shown
  #shown: Energy[] = [];
  readonly #dates = new Map<string, Intl.DateTimeFormat>(); // by their options: they take long to make
  readonly #numbers = new Map<string, Intl.NumberFormat>();

  constructor(view: View) {
    this.#view = view;
    const { words, tag } = wordsOf(view.lang ?? navigator.language);
    [this.#words, this.#tag] = [words, tag];
    this.#zone = new Zone(view.zone);
    this.#store = storeOf(view);
    this.#day = this.#zone.day(Date.now());
    document.title = words.title(view.name);
    part("name").textContent = view.name;
    this.#controls();
  }

  #controls(): void {
    const words = this.#words;
    part("spans").setAttribute("aria-label", words.spans);
    for (const span of SPANS) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = words[span];
      button.dataset["span"] = span;
      button.addEventListener("click", () => {
        this.#span = span;
        void this.show();
      });
      part("spans").append(button);
    }
    for (const [id, steps] of [["before", -1], ["after", 1]] as const) {
      part(id).setAttribute("aria-label", words[id]);
      part(id).addEventListener("click", () => {
        this.#day = this.#zone.first(this.#span, this.#day, steps);
        void this.show();
      });
    }
    const meters = part<HTMLSelectElement>("meter");
    meters.setAttribute("aria-label", words.meter);
    meters.hidden = this.#view.streams.length < 2;
    meters.append(...this.#view.streams.map(({ name }, i) => new Option(name, `${i}`)));
    meters.addEventListener("change", () => {
      this.#which = Number(meters.value);
      void this.show();
    });
    part("numbers").querySelector("summary")!.textContent = words.numbers;
    part("steps").hidden = false;
    addEventListener("resize", () => this.#draw(this.#shown));
    addEventListener("online", () => void this.show());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.show();
    });
  }

  /** The chosen meter, with its head read within the last minute. */
  async #meter(): Promise<Meter> {
    const which = this.#which;
    const place = this.#view.streams[which]!;
    let opened = this.#meters.get(which);
    if (!opened || Date.now() - this.#read > 10 * FRESH_MS) {
      opened = Meter.open(this.#store, place); // with the revocation, which only opening reads
      this.#meters.set(which, opened);
      opened.catch(() => this.#meters.delete(which));
      this.#read = Date.now();
    } else if (Date.now() - this.#read > FRESH_MS) {
      this.#read = Date.now();
      const { stream } = await opened;
      await stream.refresh();
      keepMark(place.s, stream.seen);
    }
    return opened;
  }

  /** Show the chosen span of the chosen meter. */
  async show(): Promise<void> {
    const turn = ++this.#turn;
    const words = this.#words;
    if (!part("state").textContent) part("state").textContent = words.opening;
    for (const button of part("spans").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", `${button.dataset["span"] === this.#span}`);
    }
    const first = this.#zone.first(this.#span, this.#day);
    part("period").textContent = this.#period(first);
    part<HTMLButtonElement>("after").disabled = this.#zone.begin(this.#zone.first(this.#span, first, 1)) > Date.now();
    part("chart").setAttribute("aria-busy", "true");
    try {
      const meter = await this.#meter();
      if (!meter.measures) return this.#trouble(words.noEnergy);
      const edges = this.#zone.edges(this.#span, first, Math.max(LEAST_STEP_MS, meter.windowMs));
      part<HTMLButtonElement>("before").disabled = edges[0]! <= meter.begin;
      const bars = await meter.energy(edges);
      if (turn !== this.#turn) return;
      this.#draw(bars);
      this.#tell(meter);
    } catch (error) {
      if (turn === this.#turn) this.#trouble(sentence(error, words, this.#store.host));
    } finally {
      if (turn === this.#turn) part("chart").removeAttribute("aria-busy");
    }
  }

  #draw(energies: Energy[]): void {
    this.#shown = energies;
    const words = this.#words;
    const known = energies.filter(({ up, down }) => up !== null || down !== null);
    const [up, down] = (["up", "down"] as const).map((one) =>
      known.some((energy) => energy[one] !== null) ? known.reduce((sum, energy) => sum + (energy[one] ?? 0), 0) : null,
    );
    const totals = part("totals");
    totals.replaceChildren();
    const kinds = [["import", up], ["export", down]] as const;
    for (const [kind, total] of kinds) {
      if (total === null || total === undefined) continue;
      const [group, term, value] = ["div", "dt", "dd"].map((name) => document.createElement(name));
      group!.className = kind;
      term!.textContent = words[kind];
      value!.textContent = this.#kwh(total);
      group!.append(term!, value!);
      totals.append(group!);
    }
    part("numbers").hidden = known.length === 0;
    part("reading").textContent = energies.length && !known.length ? words.nothing : "";
    part("chart").replaceChildren();
    if (!known.length) return;
    const bars: Bar[] = energies.map((energy, i) => ({
      tick: this.#tick(energy, i),
      up: energy.up ?? 0,
      down: energy.down ?? 0,
    }));
    const said = kinds.filter(([, total]) => total !== null).map(([kind, total]) => `${words[kind]} ${this.#kwh(total!)}`).join(", ");
    const number = this.#number(0, 3);
    part("chart").append(
      chart(bars, part("chart").clientWidth, words.chart(part("period").textContent, said), "kWh", number.format, (i) => {
        part("reading").textContent = `${this.#label(energies[i]!)}: ${this.#both(energies[i]!)}`;
      }),
    );
    this.#table(known, kinds.filter(([, total]) => total !== null && total !== undefined).map(([kind]) => kind));
  }

  #table(energies: Energy[], kinds: ("import" | "export")[]): void {
    const [head, body] = [part("numbers").querySelector("thead")!, part("numbers").querySelector("tbody")!];
    const words = this.#words;
    head.replaceChildren(row(["th", words.time], ...kinds.map((kind) => ["th", `${words[kind]}, kWh`] as const)));
    const number = this.#number(3);
    const of = (energy: Energy, kind: "import" | "export") => (kind === "import" ? energy.up : energy.down);
    body.replaceChildren(
      ...energies.map((energy) => {
        const numbers = kinds.map((kind) => ["td", of(energy, kind) === null ? "" : number.format(of(energy, kind)!)] as const);
        return row(["th", this.#label(energy)], ...numbers);
      }),
    );
  }

  #tell(meter: Meter): void {
    const words = this.#words;
    const { head } = meter.stream;
    const sealed = meter.sealedUntil;
    part("state").textContent = sealed === null ? words.empty : words.state(this.#moment(sealed));
    const limit = meter.limit;
    trouble(
      limit !== null && meter.grant.revoked ? words.revoked(this.#moment(limit))
      : limit !== null && limit <= Date.now() ? words.ended(this.#moment(limit))
      : head && meter.stream.age(Date.now()) > LATE_MS ? words.late(this.#moment(Number(head.timeMs)))
      : "",
    );
  }

  /** Say why nothing can be shown, and show nothing. */
  #trouble(text: string): void {
    this.#draw([]);
    part("state").textContent = "";
    trouble(text);
  }

  // --- words for times and numbers

  #format(options: Intl.DateTimeFormatOptions, utc = false): Intl.DateTimeFormat {
    const key = JSON.stringify([options, utc]);
    const made = this.#dates.get(key) ?? new Intl.DateTimeFormat(this.#tag, { timeZone: utc ? "UTC" : this.#zone.name, ...options });
    this.#dates.set(key, made);
    return made;
  }

  #number(least: number, most = least): Intl.NumberFormat {
    const key = `${least} ${most}`;
    const made = this.#numbers.get(key) ?? new Intl.NumberFormat(this.#tag, { minimumFractionDigits: least, maximumFractionDigits: most });
    this.#numbers.set(key, made);
    return made;
  }

  #kwh(value: number): string {
    return `${this.#number(value < 10 ? 2 : 1).format(value)} kWh`;
  }

  #both({ up, down }: Energy): string {
    const number = this.#number(3);
    const said = [[this.#words.import, up], [this.#words.export, down]] as const;
    return said.filter(([, value]) => value !== null).map(([word, value]) => `${word} ${number.format(value!)} kWh`).join(", ");
  }

  #moment(ms: number): string {
    return this.#format({ dateStyle: "medium", timeStyle: "short" }).format(ms);
  }

  #period(first: number): string {
    const last = this.#zone.first(this.#span, first, 1) - 86_400_000;
    if (this.#span === "day") {
      return this.#format({ weekday: "short", day: "numeric", month: "long", year: "numeric" }, true).format(first);
    }
    if (this.#span === "week") return this.#format({ dateStyle: "medium" }, true).formatRange(first, last);
    const year = { year: "numeric" } as const;
    return this.#format(this.#span === "year" ? year : { month: "long", ...year }, true).format(first);
  }

  /** A bar's time in full. An hour that a clock shows twice is told apart by the name of its time. */
  #label({ start, end }: Energy): string {
    if (this.#span === "year") return this.#format({ month: "long", year: "numeric" }).format(start);
    if (this.#span !== "day") return this.#format({ weekday: "short", day: "numeric", month: "short" }).format(start);
    const time = { hour: "2-digit", minute: "2-digit" } as const;
    const twice = [-1, 1].some((hour) => this.#zone.shown(start + hour * 3_600_000) === this.#zone.shown(start));
    const from = this.#format({ ...time, ...(twice && ({ timeZoneName: "short" } as const)) }).format(start);
    return `${from}–${this.#format(time).format(end)}`;
  }

  #tick({ start }: Energy, i: number): string {
    if (this.#span === "day") {
      const shown = new Date(this.#zone.shown(start));
      return shown.getUTCMinutes() === 0 && shown.getUTCHours() % 6 === 0 && i > 0 ? this.#format({ hour: "2-digit", minute: "2-digit" }).format(start) : "";
    }
    if (this.#span === "week") return this.#format({ weekday: "short" }).format(start);
    if (this.#span === "year") return this.#format({ month: "narrow" }).format(start);
    return i % 5 === 4 || i === 0 ? `${i + 1}` : "";
  }
}

function row(...cells: (readonly ["th" | "td", string])[]): HTMLTableRowElement {
  const made = document.createElement("tr");
  for (const [name, text] of cells) {
    const cell = document.createElement(name);
    cell.textContent = text;
    made.append(cell);
  }
  return made;
}

/** What a person should know of an error. */
function sentence(error: unknown, words: Words, host: string): string {
  if (error instanceof StoreTrouble) {
    if (error.why === "offline") return words.offline;
    return error.why === "failed" ? words.failed(host, error.status) : words[error.why](host);
  }
  if (error instanceof WrongKey) return words.wrongKey;
  if (error instanceof NotFound) return words.notFound;
  if (error instanceof RolledBack) return words.rolledBack(error.message);
  if (error instanceof Refused) return words.refused(error.message);
  throw error;
}

function trouble(text: string): void {
  part("trouble").textContent = text;
  part("trouble").hidden = !text;
}

function begin(): void {
  const { words, tag } = wordsOf(navigator.language);
  document.documentElement.lang = tag;
  if (!globalThis.crypto?.subtle) return trouble(words.noCrypto);
  let view: View | null;
  try {
    view = viewOf(document);
    if (!view) return trouble(words.noData);
    document.documentElement.lang = wordsOf(view.lang ?? tag).tag;
    void new Page(view).show();
  } catch {
    trouble(words.badData);
  }
}

addEventListener("hashchange", () => location.hash.length > 1 && location.reload()); // another link in the same tab
begin();
