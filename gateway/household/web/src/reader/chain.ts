// The chain of chunks: each begins where the one before ends, and has the next number and its digest.

import { type Bytes, hex } from "./bytes.ts";
import type { Chunk, Descriptor } from "./objects.ts";
import { Refused } from "./refused.ts";

/** What identifies the chunk numbered `seq`: its digest in hex, and the unit after its last. */
export interface Mark {
  seq: bigint;
  digest: string;
  nextUnit: bigint;
}

export function markOf(chunk: Chunk, digest: Bytes): Mark {
  return { seq: chunk.seq, digest: hex(digest), nextUnit: chunk.end };
}

export function sameMark(a: Mark, b: Mark): boolean {
  return a.seq === b.seq && a.digest === b.digest && a.nextUnit === b.nextUnit;
}

/** A walk along the chain, in order; it may step over chunks that pages stand for. */
export class Chain {
  #last: { key: string; mark: Mark; incarnation: bigint | null } | null = null;
  #listed: { key: string; child: string; end: bigint } | null = null;
  readonly #seen = new Set<bigint>(); // incarnations
  readonly #stream: Descriptor;
  readonly #marks: [who: string, mark: Mark][];

  /** `marks` are chunks that the chain must contain, each with the words that say who claims it. */
  constructor(stream: Descriptor, marks: [who: string, mark: Mark][]) {
    this.#stream = stream;
    this.#marks = marks;
  }

  /** Expect the stream's first chunk, which follows the descriptor under `key`. */
  begin(key: string, digest: Bytes): void {
    this.#last = { key, mark: { seq: -1n, digest: hex(digest), nextUnit: this.#stream.start }, incarnation: null };
  }

  /** The number of the last chunk. */
  get seq(): bigint | null {
    return this.#last?.mark.seq ?? null;
  }

  /** Go on at `unit`, behind chunks that were not read. The page that ends there lists `child` as its last. */
  stepOver(unit: bigint, page: { key: string; child: Bytes } | null): void {
    if (this.#last && this.#last.mark.nextUnit >= unit) return;
    this.#last = null;
    this.#listed = page && { key: page.key, child: hex(page.child), end: unit };
  }

  /** Take the next chunk, valid by itself; Refused where it does not follow the one before. */
  follow(key: string, chunk: Chunk, digest: Bytes): void {
    const mark = markOf(chunk, digest);
    const last = this.#last;
    if (last?.key === key) {
      if (!sameMark(last.mark, mark)) throw new Refused(`${key} has changed since it was read the last time`);
      return;
    }
    const previous = hex(chunk.previous);
    if (last) this.#join(last.key, last.mark, key, chunk, previous);
    else if (this.#listed && chunk.first <= this.#listed.end && ![mark.digest, previous].includes(this.#listed.child)) {
      throw new Refused(`${key} does not go on where ${this.#listed.key} ends: it is of another history`);
    }
    for (const [who, other] of this.#marks) {
      if (other.seq === mark.seq && !sameMark(other, mark)) {
        throw new Refused(`${key} is not the chunk number ${mark.seq} that ${who}`);
      }
    }
    this.#checkIncarnation(key, last?.incarnation ?? null, chunk.incarnation);
    this.#listed = null;
    this.#last = { key, mark, incarnation: chunk.incarnation };
  }

  #join(lastKey: string, last: Mark, key: string, chunk: Chunk, previous: string): void {
    if (chunk.first < last.nextUnit) {
      throw new Refused(`${key} begins inside ${lastKey}, which reaches to unit ${last.nextUnit}`);
    }
    if (chunk.first > last.nextUnit || chunk.seq !== last.seq + 1n) {
      throw new Refused(
        `${key} is number ${chunk.seq} and begins at unit ${chunk.first}; after ${lastKey} must come number ` +
          `${last.seq + 1n} at unit ${last.nextUnit}`,
      );
    }
    if (previous !== last.digest) {
      throw new Refused(`${lastKey} is not the object that ${key} was made to follow: replaced`);
    }
  }

  /** No incarnation comes back once another has sealed, and a TPM's counter only rises. */
  #checkIncarnation(key: string, old: bigint | null, now: bigint): void {
    const ended = this.#seen.has(now) || (this.#stream.assurance === "tpm" && old !== null && now < old);
    this.#seen.add(now);
    if (old !== null && old !== now && ended) {
      throw new Refused(`${key} was sealed in incarnation ${now}, which ended before ${old} began`);
    }
  }
}
