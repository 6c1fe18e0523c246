// The CBOR of the protocol: deterministic (RFC 8949, section 4.2.1), of integers, byte strings, text, arrays and
// maps of unsigned integer keys. Every integer is a bigint, since most of the protocol's have 64 bits.

import type { Bytes } from "./bytes.ts";
import { Refused } from "./refused.ts";

export type Value = bigint | Bytes | string | Value[] | Map<bigint, Value>;

const DEPTH = 7; // arrays and maps inside each other
const LEAST = [24n, 1n << 8n, 1n << 16n, 1n << 32n]; // the least number that needs 1, 2, 4, 8 bytes
const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The value of CBOR; Refused for any other bytes than its one deterministic form. `what` names them. */
export function decode(data: Bytes, what: string): Value {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = 0;

  function refuse(why: string): never {
    throw new Refused(`${what} ${why}`);
  }

  function take(length: bigint): Bytes {
    if (length > BigInt(data.length - at)) refuse("is not CBOR, or was cut short");
    const begin = at;
    at += Number(length);
    return data.subarray(begin, at);
  }

  function argument(low: number): bigint {
    if (low < 24) return BigInt(low);
    if (low > 27) refuse("holds open-ended CBOR, which version 1 does not use");
    const begin = at;
    take(BigInt(1 << (low - 24)));
    const value =
      low === 24 ? BigInt(view.getUint8(begin))
      : low === 25 ? BigInt(view.getUint16(begin))
      : low === 26 ? BigInt(view.getUint32(begin))
      : view.getBigUint64(begin);
    if (value < LEAST[low - 24]!) refuse("is not deterministic CBOR: a number is not in its shortest form");
    return value;
  }

  function string(bytes: Bytes): string {
    try {
      return text.decode(bytes);
    } catch {
      return refuse("holds text that is not UTF-8");
    }
  }

  function map(entries: bigint, depth: number): Map<bigint, Value> {
    const found = new Map<bigint, Value>();
    let last = -1n;
    for (let i = 0n; i < entries; i++) {
      const lead = take(1n)[0]!;
      if (lead >> 5) refuse("holds a map whose keys are not all unsigned integers");
      const key = argument(lead & 31);
      if (key <= last) refuse("is not deterministic CBOR: the keys of a map do not rise");
      found.set((last = key), item(depth));
    }
    return found;
  }

  function item(depth: number): Value {
    const lead = take(1n)[0]!;
    const major = lead >> 5;
    if (major > 5) refuse("holds CBOR that version 1 does not use: a tag, a float or a simple value");
    const value = argument(lead & 31);
    if (major === 0) return value;
    if (major === 1) return -1n - value;
    if (major === 2) return take(value);
    if (major === 3) return string(take(value));
    if (depth === DEPTH) refuse("nests arrays and maps too deep");
    if (value > BigInt(data.length - at)) refuse("is not CBOR, or was cut short");
    return major === 5 ? map(value, depth + 1) : Array.from({ length: Number(value) }, () => item(depth + 1));
  }

  const value = item(0);
  if (at < data.length) refuse("is not deterministic CBOR: something comes after its end");
  return value;
}

/** The head of a byte string, an array or text (major type 2, 4 or 3), in its shortest form. */
export function head(major: number, length: number): Bytes {
  const lead = major << 5;
  if (length < 24) return Uint8Array.of(lead | length);
  if (length < 1 << 8) return Uint8Array.of(lead | 24, length);
  if (length < 1 << 16) return Uint8Array.of(lead | 25, length >> 8, length & 255);
  return Uint8Array.of(lead | 26, length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255);
}
