// Sums modulo 2^64 over windows between edges that rise.

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
  for (let i = Math.max(0, search(edges, low + 1n) - 1); i + 1 < edges.length && edges[i]! < high; i++) {
    const [a, b] = [edges[i]!, edges[i + 1]!];
    const from = Number(((a > low ? a : low) - first) / step);
    const until = Number(((b < high ? b : high) - first) / step);
    for (const [lane, sum] of sums.entries()) {
      const held = c[lane]!;
      for (let k = from; k < until; k++) sum[i]! += held[k]!; // the array wraps
    }
  }
}
