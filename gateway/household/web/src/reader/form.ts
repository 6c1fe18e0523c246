// The form of a payload: a CBOR map with integer keys, described entry by entry and checked on the way in.

import { type Bytes, utf8 } from "./bytes.ts";
import type { Value } from "./cbor.ts";
import { Refused } from "./refused.ts";

const FIRST_ADDED_KEY = 64n; // version 1 keeps the keys below to itself; a reader skips others that it does not know

/** A value that does not have its form. */
class Misfit extends Error {}

/** What a value must be; gives it back, or throws a Misfit that says what was expected. */
export type Form<T> = (value: Value) => T;

export interface Entry<T> {
  key: bigint;
  form: Form<T>;
  optional: boolean;
}

type Payload<E> = { [K in keyof E]: E[K] extends Entry<infer T> ? T : never };

function form<T>(expected: string, accept: (value: Value) => T | undefined): Form<T> {
  return (value) => {
    const accepted = accept(value);
    if (accepted === undefined) throw new Misfit(`expected ${expected}`);
    return accepted;
  };
}

export function entry<T>(key: number, form: Form<T>): Entry<T> {
  return { key: BigInt(key), form, optional: false };
}

/** An entry that is null where it is left out. */
export function optional<T>(key: number, form: Form<T>): Entry<T | null> {
  return { key: BigInt(key), form, optional: true };
}

/** Bytes: exactly `size`, or at least `least`. */
export function bytes(size: number | null, least = 0): Form<Bytes> {
  return form(size === null ? `at least ${least} bytes` : `${size} bytes`, (value) =>
    value instanceof Uint8Array && (size === null ? value.length >= least : value.length === size) ? value : undefined,
  );
}

/** An integer from `least` to `most`. */
export function between(least: bigint, most: bigint): Form<bigint> {
  return form(`an integer from ${least} to ${most}`, (value) =>
    typeof value === "bigint" && least <= value && value <= most ? value : undefined,
  );
}

/** An integer from 0 to 2^64 - 1. */
export const uint = between(0n, (1n << 64n) - 1n);

/** Printable text of at most 256 bytes. */
export const shown = form("printable text of at most 256 bytes", (value) =>
  typeof value === "string" && /^(?:[^\p{C}\p{Z}]| )*$/u.test(value) && utf8(value).length <= 256 ? value : undefined,
);

/** Text that a pattern matches from end to end. */
export function like(pattern: string): Form<string> {
  const whole = new RegExp(`^(?:${pattern})$`);
  return form(`text like ${pattern}`, (value) =>
    typeof value === "string" && whole.test(value) ? value : undefined,
  );
}

export function oneOf<const T extends string>(...words: T[]): Form<T> {
  return form(words.join(" or "), (value) => words.find((word) => word === value));
}

export function either<A, B>(first: Form<A>, second: Form<B>): Form<A | B> {
  return (value) => {
    try {
      return first(value);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      return second(value);
    }
  };
}

/** An array of `least` to `most` items. */
export function list<T>(item: Form<T>, most: number, least = 1): Form<T[]> {
  return (value) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) {
      throw new Misfit(`expected an array of ${least} to ${most} items`);
    }
    return value.map(item);
  };
}

export function pair<A, B>(first: Form<A>, second: Form<B>): Form<[A, B]> {
  return (value) => {
    if (!Array.isArray(value) || value.length !== 2) throw new Misfit("expected an array of 2 items");
    return [first(value[0]!), second(value[1]!)];
  };
}

/** An array of texts, `count` of them. */
export function texts(count: number): Form<string[]> {
  const items = list(shown, count);
  return (value) => {
    const found = items(value);
    if (found.length !== count) throw new Misfit(`expected an array of ${count} items`);
    return found;
  };
}

/** The values of a payload's entries; Refused where one is missing, misfits, or is unknown below 64. */
export function payload<E extends Record<string, Entry<unknown>>>(
  entries: E,
): (value: Value, what: string) => Payload<E> {
  const known = new Set(Object.values(entries).map((one) => one.key));
  return (value, what) => {
    if (!(value instanceof Map)) throw new Refused(`${what}: its payload is not a map`);
    for (const key of value.keys()) {
      if (key < FIRST_ADDED_KEY && !known.has(key)) {
        throw new Refused(
          `${what}: its payload has an entry ${key}, which version 1 does not know; only those from 64 on are skipped`,
        );
      }
    }
    const found: Record<string, unknown> = {};
    for (const [name, { key, form, optional }] of Object.entries(entries)) {
      const held = value.get(key);
      if (held === undefined && !optional) throw new Refused(`${what}: ${name} is missing`);
      try {
        found[name] = held === undefined ? null : form(held);
      } catch (error) {
        throw error instanceof Misfit ? new Refused(`${what}: ${name} is invalid: ${error.message}`) : error;
      }
    }
    return found as Payload<E>;
  };
}
