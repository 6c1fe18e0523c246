// Sums modulo 2^64 over windows between edges that rise.

const BLOCK = 1 << 20; // words whose halves a number adds up exactly

/** The index of the first of numbers that rise which is at least `number`. */
export function search(numbers: bigint[], number: bigint): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! < number) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Add the lanes of `c`, whose steps of `step` units begin with unit `first`, to those of `sums`, one number for each
 * window between `edges`: as far as they lie in units [low, high). No edge may lie inside a step. */
export function addUp(
  sums: BigUint64Array[],
  edges: bigint[],
  c: BigUint64Array[],
  first: bigint,
  step: bigint,
  low: bigint,
  high: bigint,
): void {
  const begin = Math.max(0, search(edges, low + 1n) - 1);
  const [least, most, size] = [Number(low - first), Number(high - first), Number(step)];
  const borders: number[] = []; // in steps of `c`, of the windows from `begin` on
  for (let i = begin; i < edges.length && (i === begin || edges[i - 1]! < high); i++) {
    borders.push(Math.max(least, Math.min(most, Number(edges[i]! - first))) / size);
  }
  sums.forEach((sum, lane) => {
    const held = c[lane]!;
    for (let i = 0; i + 1 < borders.length; i++) sum[begin + i]! += total(held, borders[i]!, borders[i + 1]!); // the array wraps
  });
}

/** The sum of every `stride`-th of `words` from index `from` to before `until`. The halves of words are added as plain
 * numbers, many times as fast as bigints; a block's sum of them stays below 2^53. */
export function total(words: BigUint64Array, from: number, until: number, stride = 1): bigint {
  const halves = new Uint32Array(words.buffer, words.byteOffset, 2 * words.length);
  let sum = 0n;
  for (let begin = from; begin < until; begin += BLOCK * stride) {
    const end = Math.min(until, begin + BLOCK * stride);
    let [low, high] = [0, 0];
    for (let i = 2 * begin; i < 2 * end; i += 2 * stride) {
      low += halves[i]!;
      high += halves[i + 1]!;
    }
    sum += BigInt(low) + (BigInt(high) << 32n);
  }
  return sum;
}
