// A bar chart as SVG: what came from the grid above the axis, what went into it below.

export interface Bar {
  tick: string; // for the axis; empty for none
  up: number;
  down: number;
}

const [HEIGHT, LEFT, BOTTOM, TOP] = [240, 44, 22, 22];
const SVG = "http://www.w3.org/2000/svg";

/** The chart of `bars`, `width` pixels wide, of numbers of `unit`; `chosen` is told which of them a finger, a mouse or
 * the arrow keys point at. */
export function chart(
  bars: Bar[],
  width: number,
  name: string,
  unit: string,
  number: (value: number) => string,
  chosen: (i: number) => void,
): SVGElement {
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": name, tabindex: 0 });
  const [most, least] = [Math.max(0, ...bars.map((bar) => bar.up)), Math.max(0, ...bars.map((bar) => bar.down))];
  const step = niceStep((most + least) / 4);
  const high = Math.ceil(most / step) * step || step;
  const low = Math.ceil(least / step) * step;
  const y = (value: number) => TOP + ((high - value) / (high + low)) * (HEIGHT - TOP - BOTTOM);
  const wide = (width - LEFT) / bars.length;
  for (let tick = -low; tick <= high + step / 2; tick += step) {
    const at = y(tick);
    svg.append(element("line", { x1: LEFT, x2: width, y1: at, y2: at, class: Math.abs(tick) < step / 2 ? "axis" : "grid" }));
    svg.append(text(LEFT - 6, at + 4, number(Math.abs(Math.abs(tick) < step / 2 ? 0 : tick)), "label end"));
  }
  svg.append(text(LEFT - 6, 12, unit, "label end"));
  const mark = element("rect", { y: TOP, height: HEIGHT - TOP - BOTTOM, width: wide, class: "mark", visibility: "hidden" });
  svg.append(mark);
  const gap = wide > 6 ? wide * 0.15 : 0.4;
  for (const [i, bar] of bars.entries()) {
    const x = LEFT + i * wide;
    const place = { x: x + gap / 2, width: wide - gap, rx: Math.min(2, wide / 4) };
    if (bar.up > 0) svg.append(element("rect", { ...place, y: y(bar.up), height: y(0) - y(bar.up), class: "import" }));
    if (bar.down > 0) svg.append(element("rect", { ...place, y: y(0), height: y(-bar.down) - y(0), class: "export" }));
    if (bar.tick) svg.append(text(x + wide / 2, HEIGHT - 6, bar.tick, "label middle"));
  }
  let at = -1;
  const choose = (i: number) => {
    at = i;
    mark.setAttribute("visibility", "visible");
    mark.setAttribute("x", `${LEFT + i * wide}`);
    chosen(i);
  };
  const pointed = (event: PointerEvent) => {
    const box = svg.getBoundingClientRect();
    const i = Math.floor((((event.clientX - box.left) / box.width) * width - LEFT) / wide);
    choose(Math.max(0, Math.min(bars.length - 1, i)));
  };
  svg.addEventListener("pointerdown", pointed);
  svg.addEventListener("pointermove", pointed);
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(bars.length - 1, at < 0 ? (by > 0 ? 0 : bars.length - 1) : at + by)));
  });
  return svg;
}

/** The next of 1, 2, 5, 10, ... times a power of ten. */
function niceStep(least: number): number {
  if (!(least > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= least)!;
}

function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, typeof value === "number" ? `${Math.round(value * 100) / 100}` : value);
  }
  return made;
}

function text(x: number, y: number, content: string, kind: string): SVGElement {
  const made = element("text", { x, y, class: kind });
  made.textContent = content;
  return made;
}
