// Plots of a table's numbers. An element .plot names a table and an axis: each column whose head has that
// data-axis is drawn, of kind "bars" or "step", from the data-value of its cells. A row is as wide as any other,
// whatever time it stands for, and the page says what it is called: so the hours of a day on which clocks change
// need no care here. With data-newest the table's first row is the last in time; data-limit of the element is a
// line across its plot. A table that changes is drawn again.
import type UPlot from "uplot";

declare const uPlot: typeof UPlot;

interface Column {
  name: string;
  kind: string;
  colour: string;
  unit: string;
  values: (number | null)[];
  shown: string[];
}

const NARROWEST_LABEL = 58;
const EVERY = [1, 2, 3, 4, 6, 8, 12, 24, 48, 96, 192];

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function rowsOf(table: HTMLTableElement): HTMLTableRowElement[] {
  const rows = [...table.tBodies[0]!.rows];
  return table.dataset["newest"] === undefined ? rows : rows.reverse();
}

function columns(table: HTMLTableElement, rows: HTMLTableRowElement[], axis: string): Column[] {
  return [...table.tHead!.rows[0]!.cells].flatMap((head, at) => {
    if (head.dataset["axis"] !== axis) return [];
    const cells = rows.map((row) => row.cells[at]!);
    return {
      name: head.textContent!.trim(),
      kind: head.dataset["kind"]!,
      colour: head.dataset["colour"]!,
      unit: head.dataset["unit"]!,
      values: cells.map(({ dataset: { value } }) => (value === undefined ? null : Number(value))),
      shown: cells.map((cell) => cell.textContent!.trim()),
    };
  });
}

/** The numbers of the rows that get a label: as many of those with data-tick as there is room for. */
function ticks(rows: HTMLTableRowElement[], width: number): number[] {
  const marked = rows.flatMap((row, at) => (row.dataset["tick"] === undefined ? [] : at));
  const room = Math.max(1, Math.floor(width / NARROWEST_LABEL));
  const every = EVERY.find((one) => marked.length / one <= room) ?? marked.length;
  return marked.filter((_, at) => at % every === 0);
}

function limit(value: string, unit: string, rows: HTMLTableRowElement[]): Column {
  const values = rows.map(() => Number(value));
  return { name: "Limit", kind: "limit", colour: "bad", unit, values, shown: rows.map(() => value) };
}

function series(column: Column): UPlot.Series {
  const paths =
    column.kind === "bars"
      ? uPlot.paths.bars!({ size: [0.86, 80], radius: 0.1 })
      : uPlot.paths.stepped!({ align: 1 });
  return {
    label: column.name,
    stroke: () => colour(column.colour),
    ...(column.kind === "bars" ? { fill: () => colour(column.colour), width: 0 } : { width: 2.5 }),
    ...(column.kind === "limit" ? { dash: [6, 5], width: 1.5 } : {}),
    paths,
    points: { show: false },
  };
}

/** Fills the rows with data-cheap or data-above, and marks the present. */
function marks(plot: UPlot, rows: HTMLTableRowElement[], now: number | undefined): void {
  const { ctx, bbox } = plot;
  ctx.save();
  rows.forEach((row, at) => {
    const above = row.dataset["above"] !== undefined;
    if (row.dataset["cheap"] === undefined && !above) return;
    ctx.fillStyle = colour(above ? "bad-ground" : "good-ground");
    const left = plot.valToPos(at, "x", true);
    ctx.fillRect(left, bbox.top, plot.valToPos(at + 1, "x", true) - left + 0.5, bbox.height);
  });
  if (now !== undefined) {
    ctx.fillStyle = colour("soft");
    ctx.fillRect(Math.round(plot.valToPos(now, "x", true)), bbox.top, Math.max(1, devicePixelRatio), bbox.height);
  }
  ctx.restore();
}

export function draw(element: HTMLElement): void {
  const table = document.getElementById(element.dataset["table"]!) as HTMLTableElement;
  const rows = rowsOf(table);
  const shown = columns(table, rows, element.dataset["axis"]!);
  const bound = element.dataset["limit"];
  if (bound !== undefined) shown.push(limit(bound, shown[0]!.unit, rows));
  const now = table.dataset["now"] === undefined ? undefined : Number(table.dataset["now"]);
  const number = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 3 });
  const last = rows.length;
  const given = shown.some((column) => column.colour === "export");
  const between = table.dataset["between"] === undefined ? 0 : 0.5; // a name of a row, not of its beginning

  const legend = document.createElement("p");
  legend.className = "legend";
  legend.setAttribute("aria-hidden", "true");
  element.before(legend);
  const unit = document.createElement("span");
  unit.textContent = shown[0]!.unit;
  legend.append(unit);
  const when = document.createElement("span");
  when.className = "when";
  const figures = shown.map((column) => {
    const entry = document.createElement("span");
    entry.className = `of ${column.colour}`;
    entry.textContent = column.name;
    const figure = document.createElement("strong");
    entry.append(" ", figure);
    legend.append(entry);
    return figure;
  });
  legend.append(when);

  function say(at: number | null | undefined): void {
    const row = at === null || at === undefined ? undefined : rows[at];
    when.textContent = row ? row.cells[0]!.textContent!.trim() : "";
    shown.forEach((column, of) => (figures[of]!.textContent = (row && column.shown[at!]) ?? ""));
  }

  const grid = { stroke: () => colour("line"), width: 1 };
  const axis = { stroke: () => colour("soft"), font: "12px system-ui, sans-serif", grid, ticks: { show: false } };
  const size = (): { width: number; height: number } => ({
    width: element.clientWidth,
    height: element.clientHeight,
  });
  // A bar stands in the middle of its row; a step begins with it, and the last one goes on to where it ends.
  const bars = shown[0]!.kind === "bars";
  const data: UPlot.AlignedData = bars
    ? [rows.map((_, at) => at + 0.5), ...shown.map(({ values }) => values)]
    : [[...rows.keys(), last], ...shown.map(({ values }) => [...values, values[last - 1] ?? null])];
  const plot = new uPlot(
    {
      ...size(),
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { setScale: false, x: false, y: false },
        points: { show: false },
        sync: { key: element.dataset["table"]! },
      },
      scales: {
        x: { time: false, range: [0, last] },
        y: { range: (_, low, high) => uPlot.rangeNum(Math.min(0, low ?? 0), Math.max(0, high ?? 0) || 1, 0.08, true) },
      },
      axes: [
        {
          ...axis,
          size: 28,
          grid: { show: false },
          splits: (of) => ticks(rows, of.width).map((at) => at + between),
          values: (_, at) => at.map((place) => rows[Math.floor(place)]?.dataset["label"] ?? ""),
        },
        {
          ...axis,
          size: 46,
          // What was given is drawn downwards, but is no less than nothing.
          values: (_, at) => at.map((value) => number.format(given ? Math.abs(value) : value)),
        },
      ],
      series: [{}, ...shown.map(series)],
      hooks: {
        drawClear: [(of) => marks(of, rows, now)],
        setCursor: [
          (of) => {
            const { left } = of.cursor;
            say(left === undefined || left < 0 ? null : Math.min(last - 1, Math.floor(of.posToVal(left, "x"))));
          },
        ],
      },
    },
    data,
    element,
  );
  const resized = new ResizeObserver(() => plot.setSize(size()));
  resized.observe(element);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const redraw = (): void => plot.redraw();
  dark.addEventListener("change", redraw);
  const changed = new MutationObserver(() => {
    changed.disconnect();
    resized.disconnect();
    dark.removeEventListener("change", redraw);
    plot.destroy();
    legend.remove();
    draw(element);
  });
  changed.observe(table, { subtree: true, childList: true, characterData: true, attributes: true });
}
