// Reading an S3 bucket from a browser.

import { AwsClient } from "aws4fetch";
import type { Get, List } from "../reader/index.ts";
import type { View } from "./document.ts";

const LARGE = /^v1\/[^/]+\/(month|so-far|grant\/[^/]+\/(month|so-far))\//; // the sums and the tokens of months
const LARGE_AT_ONCE = 4; // of the six connections that a browser has to a host

type Trouble = "offline" | "unreachable" | "cors" | "denied" | "failed";

/** Why the store gave no answer. */
export class StoreTrouble extends Error {
  readonly why: Trouble;
  readonly status: number;

  constructor(why: Trouble, status = 0) {
    super(why);
    this.why = why;
    this.status = status;
  }
}

/** The two functions by which a reader reads the bucket of a view. Requests are signed in their address: so they need
 * no preflight, and no cache can answer one with what an earlier one got. */
export function storeOf(view: View): { get: Get; list: List; host: string } {
  const [bucket, ...below] = view.b.split("/");
  const prefix = below.length ? `${below.join("/")}/` : "";
  const root = `${view.e}/${bucket}/`;
  const client = new AwsClient({ accessKeyId: view.a, secretAccessKey: view.s, service: "s3", region: view.r, retries: 0 });

  async function ask(url: string, priority: RequestPriority): Promise<Response> {
    const signed = await client.sign(url, { aws: { signQuery: true } });
    let response: Response;
    try {
      response = await fetch(signed.url, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", priority });
    } catch {
      throw new StoreTrouble(await reason(root));
    }
    if (!response.ok && response.status !== 403 && response.status !== 404) throw new StoreTrouble("failed", response.status);
    return response;
  }

  const list: List = async (wanted, after = "") => {
    const query = new URLSearchParams({ "list-type": "2", prefix: prefix + wanted });
    if (after) query.set("start-after", prefix + after);
    const response = await ask(`${root}?${query}`, "high");
    if (!response.ok) throw new StoreTrouble("denied");
    const answer = new DOMParser().parseFromString(await response.text(), "application/xml");
    const keys = Array.from(answer.getElementsByTagName("Key"), (key) => key.textContent.slice(prefix.length));
    return { keys, more: answer.getElementsByTagName("IsTruncated")[0]?.textContent === "true" };
  };

  // What is large keeps the line busy, and what is small, which waits for answers more than for bytes, goes beside it.
  const inTurn = turns(LARGE_AT_ONCE);
  const get: Get = (key) => (LARGE.test(key) ? inTurn(() => fetched(key, "high")) : fetched(key, "low"));

  async function fetched(key: string, priority: RequestPriority): ReturnType<Get> {
    const url = root + (prefix + key).split("/").map(encodeURIComponent).join("/");
    const response = await ask(url, priority);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
    if (response.status === 404) return null;
    // Some stores say 403 of a missing key too, where the right to list is limited to a prefix.
    const { keys } = await list(key.slice(0, key.lastIndexOf("/") + 1), key.slice(0, -1));
    if (keys[0] === key) throw new StoreTrouble("denied");
    return null;
  }

  return { get, list, host: new URL(view.e).host };
}

/** Lets at most `most` requests run at once, in the order in which they are made. */
function turns(most: number): <T>(request: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = most;
  return async (request) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await request();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}

/** Why a request failed, which a browser does not say: one whose answer the page may not see shows whether there is
 * an answer at all. */
async function reason(url: string): Promise<Trouble> {
  if (!navigator.onLine) return "offline";
  try {
    await fetch(url, { mode: "no-cors", cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
    return "cors";
  } catch {
    return "unreachable";
  }
}
