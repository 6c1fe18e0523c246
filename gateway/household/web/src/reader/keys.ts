// The key chain of a grant, and the keystreams that hide its tokens and the openings of its commitments.

import { chacha20 } from "@noble/ciphers/chacha.js";
import { be64, type Bytes, concat, digest, utf8, words } from "./bytes.ts";

export const BLOCK = 1024n; // windows that one link of the chain serves
export const OPENING_BYTES = 32; // of a window's commitment
const CHACHA_BYTES = 64; // a block of ChaCha20

export type Label = "gw1/tokens" | "gw1/openings";

/** From window number `window` on, the last units of windows were sealed in `incarnation`. */
export type Sealed = [window: bigint, incarnation: bigint];

async function hmac(key: Bytes, ...message: Bytes[]): Promise<Bytes> {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, concat(...message)));
}

/** The chain K_0, K_1, ...: forward only. It keeps what it reached, of one grant's few blocks. */
export class KeyChain {
  readonly #keys: Promise<Bytes>[];

  constructor(k0: Bytes) {
    this.#keys = [Promise.resolve(k0)];
  }

  /** K_m. */
  async block(m: bigint): Promise<Bytes> {
    for (let last = this.#keys.length - 1; last < m; last++) {
      const before = await this.#keys[last]!;
      this.#keys[last + 1] ??= hmac(before, utf8("gw1/next"));
    }
    return this.#keys[Number(m)]!;
  }

  /** The key of S(m, incarnation), or of O(m, incarnation); with `cut`, of the window that was cut so. */
  async key(label: Label, m: bigint, incarnation: bigint, cut: Bytes = new Uint8Array()): Promise<Bytes> {
    return hmac(await this.block(m), utf8(label), be64(incarnation), cut);
  }
}

/** `length` bytes of a key's keystream from byte `begin` on. */
export function keystream(key: Bytes, begin: number, length: number): Bytes {
  const skipped = begin % CHACHA_BYTES;
  const data = new Uint8Array(skipped + length);
  chacha20(key, new Uint8Array(12), data, data, (begin - skipped) / CHACHA_BYTES); // a nonce of 0: a key is used once
  return data.subarray(skipped);
}

/** The bytes of a keystream at the places of windows [first, end), `size` a window. `sealed` begins at or before
 * `first`; `cuts` has how each window was cut, or nothing. */
export async function masks(
  chain: KeyChain,
  label: Label,
  sealed: Sealed[],
  first: bigint,
  end: bigint,
  size: number,
  cuts: Bytes[] = [],
): Promise<Bytes> {
  const found = new Uint8Array(Number(end - first) * size);
  for (const [x, y, incarnation] of pieces(sealed, first, end, cuts.length > 0)) {
    const key = await chain.key(label, x / BLOCK, incarnation, cuts[Number(x - first)]);
    found.set(keystream(key, Number(x % BLOCK) * size, Number(y - x) * size), Number(x - first) * size);
  }
  return found;
}

/** Windows [first, end) in pieces of one key: of one block and incarnation, and of one window where they are cut. */
function* pieces(sealed: Sealed[], first: bigint, end: bigint, cut: boolean): Generator<[bigint, bigint, bigint]> {
  for (const [i, [window, incarnation]] of sealed.entries()) {
    const upto = least(end, sealed[i + 1]?.[0] ?? end);
    for (let x = window > first ? window : first; x < upto; ) {
      const y = cut ? x + 1n : least(upto, (x / BLOCK + 1n) * BLOCK);
      yield [x, y, incarnation];
      x = y;
    }
  }
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** The commitment to what tokens hold: `p` has each window's words, of `width` each, and `openings` 32 bytes each. */
export async function commitment(openings: Bytes, p: Bytes, width: number): Promise<Bytes> {
  const each = Array.from({ length: p.length / (8 * width) }, (_, j) => {
    const held = p.subarray(8 * width * j, 8 * width * (j + 1));
    return digest(concat(utf8("gw1/commitment"), openings.subarray(OPENING_BYTES * j, OPENING_BYTES * (j + 1)), held));
  });
  return digest(concat(utf8("gw1/commitments"), ...(await Promise.all(each))));
}

/** a - b, modulo 2^64, of numbers that lie side by side in bytes. */
export function difference(a: BigUint64Array, b: Bytes): BigUint64Array<ArrayBuffer> {
  const masked = words(b);
  for (let i = 0; i < masked.length; i++) masked[i] = a[i]! - masked[i]!; // the array wraps
  return masked;
}
