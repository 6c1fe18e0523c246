// The stored objects of a stream: their payloads, as gateway/wire/gw1.cddl has them, and the keys where they lie.

import { type Bytes, hex, number, words } from "./bytes.ts";
import { decode, type Value } from "./cbor.ts";
import { kidOf, parts, signer, type Signer, verify } from "./cose.ts";
import { between, bytes, either, entry, like, list, oneOf, optional, pair, payload, shown, texts, uint } from "./form.ts";
import * as names from "./names.ts";
import { Refused } from "./refused.ts";

const MOST = 1 << 20; // items in any list
const DAY_MS = 86_400_000n;
const LAST_MS = 253_370_764_800_000n; // 9999-01-01, beyond which no day or month is counted
const FACTOR = String.raw`[2-9]|[1-9][0-9]{1,4}|100000|(0|[1-9][0-9]{0,4})\.[0-9]{0,5}[1-9]`;
const PERIOD = "[0-9]{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?";
const DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
const LANES: Record<string, [unit: string, scale: string]> = {
  import: ["Wh", "0.001"],
  export: ["Wh", "0.001"],
  power: ["W", "1"],
  temperature: ["Cel", "0.01"],
  irradiance: ["W/m2", "1"],
  appliances: ["W", "1"],
  occupancy: ["persons", "1"],
  count: ["readings", "1"],
};
const SERIES = ["temperature", "irradiance", "appliances", "occupancy"];
const MOST_LANES = 5;

const stream = entry(1, bytes(16));
const digest = bytes(32);
const count = between(1n, 1n << 20n);

const descriptorEntries = payload({
  stream,
  unitMs: entry(2, between(1n, 3_600_000n)),
  linkUnits: entry(3, between(1n, 1n << 20n)),
  lanes: entry(4, list(texts(3), MOST_LANES)),
  start: entry(5, uint),
  spki: entry(6, bytes(91)),
  assurance: entry(7, oneOf("tpm", "software")),
  energyFactor: optional(8, like(FACTOR)),
  powerFactor: optional(9, like(FACTOR)),
});

const chunkEntries = payload({
  stream,
  seq: entry(2, uint),
  incarnation: entry(3, uint),
  first: entry(4, uint),
  count: entry(5, count),
  lanes: entry(6, list(bytes(null), MOST_LANES)),
  previous: entry(7, digest),
  sealedMs: entry(8, uint),
});

const headEntries = payload({
  stream,
  seq: entry(2, uint),
  digest: entry(3, digest),
  nextUnit: entry(4, uint),
  timeMs: entry(5, uint),
  revoked: optional(64, list(bytes(16), 1024, 0)),
  day: optional(65, digest),
});

const pageOf = (period: string, children: number) =>
  payload({
    stream,
    period: entry(2, like(period)),
    step: entry(3, between(1n, 1n << 32n)),
    first: entry(4, uint),
    count: entry(5, count),
    sums: entry(6, list(bytes(null), MOST_LANES)),
    children: entry(7, list(digest, children)),
    previous: optional(8, digest),
  });
const pageEntries = pageOf(PERIOD, MOST);
const soFarEntries = pageOf(DAY, 31);

const grantEntries = payload({ stream, body: entry(2, bytes(null)), sealedK0: entry(3, bytes(1168)) });

const bodyEntries = payload({
  id: entry(1, bytes(16)),
  stream: entry(2, bytes(16)),
  provider: entry(3, bytes(16)),
  lanes: entry(4, list(oneOf(...Object.keys(LANES)), MOST_LANES)),
  granularity: entry(5, either(between(1n, (1n << 40n) - 1n), like("day|month|month-([2-9]|1[0-9]|2[0-8])"))),
  zone: entry(6, shown),
  first: entry(7, uint),
  until: optional(8, uint),
  purpose: entry(9, shown),
  kind: entry(10, oneOf("windows", "bill", "load", "raw")),
  tariff: optional(11, digest),
  issuedMs: entry(12, uint),
  serial: entry(13, uint),
  partner: optional(14, bytes(16)),
  quantum: optional(15, between(1n, 1n << 60n)),
  kMin: optional(16, between(2n, 1n << 32n)),
});

const tokensEntries = payload({
  stream,
  grant: entry(2, bytes(16)),
  first: entry(3, uint),
  tokens: entry(4, either(bytes(null, 8), list(bytes(null, 16), MOST))),
  sealed: entry(5, list(pair(uint, uint), MOST)),
  edges: optional(6, list(uint, MOST + 1)),
  weighed: optional(7, list(digest, MOST)),
  commitment: optional(8, digest),
  soFar: optional(64, uint),
});

const revokedEntries = payload({ stream, grant: entry(2, bytes(16)), fromUnit: entry(3, uint) });

/** A kind of object: its type string, its payload, and the key of one that was found under another or this. */
export interface Kind<T> {
  type: string;
  read(value: Value, what: string): T;
  key(object: T, found: string, unitMs: bigint): string;
}

export type Descriptor = ReturnType<typeof descriptorEntries> & { signer: Signer; laneNames: string[] };
export type Chunk = ReturnType<typeof chunkEntries> & { end: bigint };
export type Head = ReturnType<typeof headEntries>;
export type Page = ReturnType<typeof pageEntries> & { end: bigint };
export type Grant = ReturnType<typeof bodyEntries>;
export type Tokens = ReturnType<typeof tokensEntries>;
export type Revocation = ReturnType<typeof revokedEntries>;

function checkLanes(lanes: Bytes[], count: bigint, what: string): void {
  if (lanes.some((lane) => BigInt(lane.length) !== 8n * count)) {
    throw new Refused(`${what}: its lanes do not hold ${count} numbers each`);
  }
}

const descriptorKind: Kind<ReturnType<typeof descriptorEntries>> = {
  type: "gw1/stream",
  read(value, what) {
    const found = descriptorEntries(value, what);
    const laneNames = found.lanes.map(([name]) => name!);
    for (const [name, unit, scale] of found.lanes) {
      const known = Object.hasOwn(LANES, name!) ? LANES[name!] : undefined;
      if (known?.[0] !== unit || known?.[1] !== scale) throw new Refused(`${what}: "${name}" is not a lane of version 1`);
    }
    if (new Set(laneNames).size < laneNames.length) throw new Refused(`${what}: it names a lane twice`);
    const series = laneNames.some((name) => SERIES.includes(name));
    if (series && !laneNames.every((name) => name === "count" || SERIES.includes(name))) {
      throw new Refused(`${what}: a series lies in a stream with lanes of a meter`);
    }
    if (found.start % found.linkUnits) throw new Refused(`${what}: the stream does not start at a link boundary`);
    return found;
  },
  key: (found) => names.descriptor(hex(found.stream)),
};

export const chunkKind: Kind<Chunk> = {
  type: "gw1/chunk",
  read(value, what) {
    const found = chunkEntries(value, what);
    checkLanes(found.lanes, found.count, what);
    return { ...found, end: found.first + found.count };
  },
  key: (found, _, unitMs) => names.chunk(hex(found.stream), found.first, unitMs),
};

export const headKind: Kind<Head> = {
  type: "gw1/head",
  read(value, what) {
    const found = headEntries(value, what);
    if (found.revoked && !rise(found.revoked.map(number))) {
      throw new Refused(`${what}: the ids of its revoked grants do not rise`);
    }
    return found;
  },
  key: (found) => names.head(hex(found.stream)),
};

function pageIn(entries: typeof pageEntries, value: Value, what: string): Page {
  const found = entries(value, what);
  checkLanes(found.sums, found.count, what);
  return { ...found, end: found.first + found.step * found.count };
}

export const pageKind: Kind<Page> = {
  type: "gw1/page",
  read: (value, what) => pageIn(pageEntries, value, what),
  key: (found) => names.page(hex(found.stream), found.period),
};

/** A month up to the end of a day, which is its `period`. */
export const soFarKind: Kind<Page> = {
  type: "gw1/sofar",
  read: (value, what) => pageIn(soFarEntries, value, what),
  key: (found) => names.soFar(hex(found.stream), found.period),
};

/** The grant in its body, which fits a stream of such units. */
export function readBody(body: Bytes, unitMs: bigint, what: string): Grant {
  const grant = bodyEntries(decode(body, what), what);
  const bill = grant.kind === "bill";
  const calendar = typeof grant.granularity === "string";
  const wrong =
    new Set(grant.lanes).size < grant.lanes.length ? "it names a lane twice"
    : calendar && DAY_MS % unitMs ? "a day is not a whole number of units"
    : calendar && [grant.first, grant.until ?? 0n].some((unit) => unit * unitMs > LAST_MS) ? "it lies outside the calendar"
    : !calendar && grant.zone !== "UTC" ? "only days and months have a time zone"
    : bill !== (grant.tariff !== null) || bill !== (grant.quantum !== null) ? "a bill has a tariff and a quantum, and only a bill"
    : bill && !grant.lanes.every((lane) => lane === "import" || lane === "export") ? "a bill is of energy"
    : grant.kind !== "load" && (grant.kMin !== null || grant.partner !== null) ? "only a load is over homes"
    : grant.kind === "raw" && calendar ? "a raw grant opens whole links"
    : grant.until !== null && grant.until <= grant.first ? "it ends before its first window does"
    : null;
  if (wrong) throw new Refused(`${what}: ${wrong}`);
  return grant;
}

export function grantKind(unitMs: bigint): Kind<Grant> {
  return {
    type: "gw1/grant",
    read(value, what) {
      const found = grantEntries(value, what);
      const grant = readBody(found.body, unitMs, `the body of ${what}`);
      if (hex(grant.stream) !== hex(found.stream)) throw new Refused(`${what}: its body grants another stream`);
      return grant;
    },
    key: (found) => names.grant(hex(found.stream), hex(found.id)),
  };
}

export const tokensKind: Kind<Tokens> = {
  type: "gw1/tokens",
  read: tokensEntries,
  key: ({ stream, grant, first, soFar }, key) =>
    soFar === null
      ? names.bundle(hex(stream), hex(grant), first, names.foldOf(key) ?? "new")
      : names.tokensSoFar(hex(stream), hex(grant), soFar),
};

export const revocationKind: Kind<Revocation> = {
  type: "gw1/revoked",
  read: revokedEntries,
  key: (found) => names.revocation(hex(found.stream), hex(found.grant)),
};

/** The object that a store holds under `key`; Refused unless it is signed by `by`, has its form and lies there. */
export async function readAt<T>(kind: Kind<T>, key: string, data: Bytes, by: Signer, unitMs: bigint): Promise<T> {
  const object = kind.read(decode(await verify(data, kind.type, by, key), key), key);
  const own = kind.key(object, key, unitMs);
  if (own !== key) throw new Refused(`${key} holds the object that belongs at ${own}: copied or moved`);
  return object;
}

/** The descriptor under `key`, signed by the key that it names itself, whose name must be `kid`. */
export async function readPinned(key: string, data: Bytes, kid: string): Promise<Descriptor> {
  const claimed = descriptorKind.read(decode(parts(data, key).payload, key), key);
  const named = await kidOf(claimed.spki);
  if (named !== kid) throw new Refused(`${key} names the signing key ${named}, but the registered one is ${kid}`);
  const by = await signer(claimed.spki, "the registered key");
  const found = await readAt(descriptorKind, key, data, by, claimed.unitMs);
  return { ...found, signer: by, laneNames: found.lanes.map(([name]) => name!) };
}

/** The chunk under `key`, which fits its stream. */
export async function readChunk(stream: Descriptor, key: string, data: Bytes): Promise<Chunk> {
  const chunk = await readAt(chunkKind, key, data, stream.signer, stream.unitMs);
  if (chunk.lanes.length !== stream.lanes.length) throw new Refused(`${key} holds ${chunk.lanes.length} lanes`);
  if (chunk.first / stream.linkUnits !== (chunk.end - 1n) / stream.linkUnits) {
    throw new Refused(`${key} reaches across the border of a link`);
  }
  if (chunk.first < stream.start) throw new Refused(`${key} begins before the stream's start`);
  return chunk;
}

/** The grant under `key`, of lanes that the stream has. */
export async function readGrant(stream: Descriptor, key: string, data: Bytes): Promise<Grant> {
  const grant = await readAt(grantKind(stream.unitMs), key, data, stream.signer, stream.unitMs);
  const unknown = grant.lanes.find((lane) => !stream.laneNames.includes(lane));
  if (unknown) throw new Refused(`${key} grants ${unknown}, which the stream does not have`);
  return grant;
}

/** How many words a token has: one for each lane, one for a bill. (Raw tokens hold keys instead.) */
export function width(grant: Grant): number {
  return grant.kind === "bill" ? 1 : grant.lanes.length;
}

/** The bundle under `key`; its tokens and what it says of its windows are of the kind that `grant` gives. */
export async function readBundle(stream: Descriptor, grant: Grant, key: string, data: Bytes): Promise<Bundle> {
  const found = await readAt(tokensKind, key, data, stream.signer, stream.unitMs);
  const { first, tokens, sealed, edges, weighed, commitment, soFar } = found;
  const raw = Array.isArray(tokens);
  const size = raw ? tokens.length : tokens.length / (8 * width(grant));
  const keys = 16 + 32 * grant.lanes.length;
  const fits = raw ? tokens.every((token) => token.length > 16 && (token.length - 16) % keys === 0) : Number.isInteger(size);
  const windows = sealed.map(([window]) => window);
  const end = fits ? first + BigInt(size) : first;
  const calendar = typeof grant.granularity === "string";
  const wrong =
    raw !== (grant.kind === "raw") ? "holds tokens of another kind of grant"
    : !fits ? "holds tokens of another length than its grant's lanes give"
    : windows[0] !== first || windows.at(-1)! >= end || !rise(windows) ? "does not say in which incarnations its windows were sealed"
    : calendar !== (edges !== null) || (grant.kind === "bill") !== (weighed !== null) ? "holds tokens of another kind of grant"
    : commitment && grant.kind !== "windows" && grant.kind !== "bill" ? "commits to what its tokens hold, which would reveal it"
    : edges && (edges.length !== size + 1 || !rise(edges)) ? "has edges that are not those of its windows, or do not rise"
    : soFar !== null && soFar !== end ? "says that it ends before another window than it does"
    : weighed && weighed.length !== size ? "has digests of steps for another number of windows"
    : null;
  if (wrong) throw new Refused(`${key} ${wrong}`);
  return { ...found, key, end, words: raw ? new BigUint64Array() : words(tokens) };
}

export type Bundle = Tokens & { key: string; end: bigint; words: BigUint64Array<ArrayBuffer> };

/** Whether each number is greater than the one before. */
export function rise(numbers: bigint[]): boolean {
  return numbers.every((number, i) => i === 0 || numbers[i - 1]! < number);
}
