// Bytes, and the numbers in them. Arrays of u64 are little-endian, as every machine with a browser is.

export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();

/** The UTF-8 of a text. */
export function utf8(text: string): Bytes {
  return encoder.encode(text);
}

export function hex(bytes: Bytes): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bytes of lowercase hexadecimal digits; an Error for any other text. */
export function unhex(text: string): Bytes {
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new Error("expected hexadecimal digits, two a byte");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function concat(...parts: Bytes[]): Bytes {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function same(a: Bytes, b: Bytes): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** 8 bytes, big-endian, of a number from 0 to 2^64 - 1. */
export function be64(value: bigint): Bytes {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** The unsigned number in bytes, big-endian. */
export function number(bytes: Bytes): bigint {
  return BigInt(`0x${hex(bytes) || "0"}`);
}

/** The u64 in bytes: a copy, since a view must begin at a multiple of 8. */
export function words(bytes: Bytes): BigUint64Array<ArrayBuffer> {
  return new BigUint64Array(bytes.slice().buffer);
}

/** SHA-256: H of the protocol. */
export async function digest(bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
