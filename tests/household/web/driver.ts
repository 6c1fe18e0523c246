// Lets Python call the reader: a JSON document a line on standard input, an answer a line on standard output.
// Bytes are in hex and 64-bit integers are strings.

import { type Bytes, hex, unhex, words } from "../src/reader/bytes.ts";
import { decode, type Value } from "../src/reader/cbor.ts";
import { Calendar } from "../src/reader/calendar.ts";
import { verify } from "../src/reader/audit.ts";
import { commitment, difference, KeyChain, keystream, masks, type Sealed } from "../src/reader/keys.ts";
import { type List, type Mark, NotFound, type OpenGrant, openStream, Refused, type Stream } from "../src/reader/index.ts";
import { signer } from "../src/reader/cose.ts";
import {
  chunkKind,
  type Descriptor,
  grantKind,
  headKind,
  type Kind,
  pageKind,
  readAt,
  readBody,
  readBundle,
  readChunk,
  readGrant,
  readPinned,
  revocationKind,
  soFarKind,
  tokensKind,
} from "../src/reader/objects.ts";
import { Zone } from "../src/view/zone.ts";

declare const process: {
  stdin: AsyncIterable<Uint8Array>;
  stdout: { write(text: string): void };
};

type Request = Record<string, any>;

const store = new Map<string, Bytes>();
let keys: string[] = [];
let asked: string[] = [];
let stream: Stream;
let grant: OpenGrant;

const PAGE = 7; // keys that one list answers: few, so that lists go on

async function get(key: string): Promise<Bytes | null> {
  asked.push(key);
  return store.get(key) ?? null;
}

let goesBack = false; // whether a list begins anew each time

async function list(prefix: string, after = ""): ReturnType<List> {
  if (goesBack) after = "";
  asked.push(`${prefix}*`);
  const found = keys.filter((key) => key.startsWith(prefix) && key > after);
  return { keys: found.slice(0, PAGE), more: found.length > PAGE };
}

function plain(value: Value): unknown {
  if (typeof value === "bigint") return `${value}`;
  if (typeof value === "string") return { text: value };
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return { map: [...value].map(([key, inner]) => [`${key}`, plain(inner)]) };
  return hex(value);
}

/** What JSON can hold of anything that the reader gives. */
function shown(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return `${value}`;
  if (value instanceof Uint8Array) return hex(value as Bytes);
  if (value instanceof BigUint64Array) return [...value].map(String);
  return value;
}

const actions: Record<string, (request: Request) => unknown> = {
  store(request) {
    for (const [key, data] of Object.entries<string | null>(request["objects"])) {
      if (data === null) store.delete(key);
      else store.set(key, unhex(data));
    }
    keys = [...store.keys()].sort();
  },
  lists(request) {
    goesBack = request["anew"];
  },
  cbor: (request) => plain(decode(unhex(request["data"]), "it")),
  async chain(request) {
    const chain = new KeyChain(unhex(request["k_0"]));
    const [m, incarnation] = [BigInt(request["m"]), BigInt(request["incarnation"])];
    return [
      await chain.block(m),
      await chain.key("gw1/tokens", m, incarnation),
      await chain.key("gw1/openings", m, incarnation),
    ];
  },
  keystream: (request) => keystream(unhex(request["key"]), request["begin"], request["length"]),
  async token(request) {
    const chain = new KeyChain(unhex(request["k_0"]));
    const tokens = words(unhex(request["words"]));
    const sealed: Sealed[] = request["sealed"].map(([w, i]: [string, string]) => [BigInt(w), BigInt(i)]);
    const first = BigInt(request["first"]);
    const width: number = request["width"];
    const end = first + BigInt(tokens.length / width);
    const cuts: Bytes[] = request["cuts"].map(unhex);
    const masked = await masks(chain, "gw1/tokens", sealed, first, end, 8 * width, cuts);
    const openings = await masks(chain, "gw1/openings", sealed, first, end, 32, cuts);
    const p = difference(tokens, masked);
    return { p, masks: words(masked), openings, commitment: await commitment(openings, new Uint8Array(p.buffer), width) };
  },
  days(request) {
    const zone = new Zone(request["zone"]);
    return (request["days"] as number[]).map((day) => zone.begin(day * 86_400_000));
  },
  body: (request) => readBody(unhex(request["body"]), BigInt(request["unit_ms"]), "it"),
  period(request) {
    const descriptor = { unitMs: BigInt(request["unit_ms"]), start: BigInt(request["start"]) } as Descriptor;
    return Calendar.of(descriptor)?.period(request["span"], BigInt(request["unit"])) ?? null;
  },
  /** An object under its key, by itself. */
  async object(request) {
    const { type, key } = request as { type: string; key: string };
    const data = unhex(request["data"]);
    if (type === "gw1/stream") return readPinned(key, data, request["kid"]);
    const by = await signer(unhex(request["spki"]), "the registered key");
    const unitMs = BigInt(request["unit_ms"]);
    const kinds: Kind<object>[] = [chunkKind, headKind, pageKind, soFarKind, grantKind(unitMs), tokensKind, revocationKind];
    return readAt(kinds.find((kind) => kind.type === type)!, key, data, by, unitMs);
  },
  /** A chunk under its key, in the stream of a descriptor. */
  async chunk(request) {
    const { key, of } = request as { key: string; of: string };
    const descriptor = await readPinned(of, unhex(request["descriptor"]), request["kid"]);
    return readChunk(descriptor, key, unhex(request["data"]));
  },
  /** A bundle under its key, of a grant in the stream of a descriptor. */
  async bundle(request) {
    const { key, of, grantKey } = request as { key: string; of: string; grantKey: string };
    const descriptor = await readPinned(of, unhex(request["descriptor"]), request["kid"]);
    const granted = await readGrant(descriptor, grantKey, unhex(request["grant"]));
    return (await readBundle(descriptor, granted, key, unhex(request["data"]))).end;
  },
  async open(request) {
    const seen = request["seen"] as { seq: string; digest: string; nextUnit: string } | null;
    const mark: Mark | null = seen && { ...seen, seq: BigInt(seen.seq), nextUnit: BigInt(seen.nextUnit) };
    stream = await openStream(get, list, request["stream"], request["kid"], mark);
    return { head: stream.head, seen: stream.seen };
  },
  async refresh() {
    await stream.refresh();
    return { head: stream.head, seen: stream.seen };
  },
  async grant(request) {
    grant = await stream.grant(request["id"], request["k_0"]);
    return { body: grant.body, limit: grant.limit, revoked: grant.revoked };
  },
  verify: () => verify(stream),
  windows: (request) => grant.windows(request["from"], request["until"]),
  totals: (request) => grant.totals(request["edges"]),
  asked() {
    const before = asked;
    asked = [];
    return before;
  },
};

async function answer(line: string): Promise<unknown> {
  const request = JSON.parse(line) as Request;
  try {
    return { answer: (await actions[request["action"]]!(request)) ?? null };
  } catch (error) {
    if (error instanceof Refused || error instanceof NotFound) return { refused: error.message, as: error.name };
    return { failed: String(error instanceof Error ? error.stack : error) };
  }
}

const text = new TextDecoder();
let rest = "";
for await (const data of process.stdin) {
  rest += text.decode(data, { stream: true });
  for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
    const line = rest.slice(0, end);
    rest = rest.slice(end + 1);
    process.stdout.write(`${JSON.stringify(await answer(line), shown)}\n`);
  }
}
