// Where objects lie in the bucket: PROTOCOL.md, "What is stored". Streams and grants are named by their ids in hex.

import { Refused } from "./refused.ts";

export type Fold = "new" | "day" | "month";
export type Span = "day" | "month";
export type Folder = Span | "so-far"; // of pages

const LAST_MS = 253402300799999n; // of the year 9999

export const descriptor = (stream: string): string => `v1/${stream}/stream.cose`;
export const head = (stream: string): string => `v1/${stream}/head.cose`;
export const chunks = (stream: string): string => `v1/${stream}/chunk/`;
export const pages = (stream: string, folder: Folder): string => `v1/${stream}/${folder}/`;
export const grant = (stream: string, id: string): string => `v1/${stream}/grant/${id}/grant.cose`;
export const revocation = (stream: string, id: string): string => `v1/${stream}/grant/${id}/revoked.cose`;
export const bundles = (stream: string, id: string, fold: Fold): string => `v1/${stream}/grant/${id}/${fold}/`;

/** The page of a UTC day, "2026-11-22", or of a month, "2026-11". */
export function page(stream: string, period: string): string {
  return `${pages(stream, period.length === 10 ? "day" : "month")}${period}.cose`;
}

/** The sums of a UTC month up to the end of this day of it, "2026-11-22". */
export const soFar = (stream: string, day: string): string => `${pages(stream, "so-far")}${day}.cose`;

/** The chunk whose first unit is `first`, under its UTC day; Refused beyond the year 9999. */
export function chunk(stream: string, first: bigint, unitMs: bigint): string {
  if (first * unitMs > LAST_MS) throw new Refused(`unit ${first} lies outside the calendar`);
  const day = new Date(Number(first * unitMs)).toISOString().slice(0, 10);
  return `${chunks(stream)}${day}/${digits(first)}.cose`;
}

/** The token bundle that begins with window number `first`. */
export function bundle(stream: string, id: string, first: bigint, fold: Fold = "new"): string {
  return `${bundles(stream, id, fold)}${digits(first)}.cose`;
}

/** The tokens of a UTC month's windows so far: those before window number `end`. */
export const tokensSoFar = (stream: string, id: string, end: bigint): string => `v1/${stream}/grant/${id}/so-far/${digits(end)}.cose`;

/** The fold of the token bundle that lies at `key`; null where another kind of object does. */
export function foldOf(key: string): Fold | null {
  const folder = key.split("/")[4];
  return folder === "new" || folder === "day" || folder === "month" ? folder : null;
}

/** The number that ends the key of a chunk or a bundle; Refused for any other key. */
export function numberIn(key: string): bigint {
  const found = /\/([0-9a-f]{16})\.cose$/.exec(key);
  if (!found) throw new Refused(`the store holds "${key}", a name that version 1 does not have`);
  return BigInt(`0x${found[1]!}`);
}

function digits(number: bigint): string {
  return number.toString(16).padStart(16, "0");
}
