// COSE_Sign1 (RFC 9052, section 4.2) with ES256, in the one form that the protocol has.

import { type Bytes, concat, digest, hex, number, same, unhex, utf8 } from "./bytes.ts";
import { head } from "./cbor.ts";
import { Refused } from "./refused.ts";

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n; // n of P-256 (SP 800-186)
const SPKI = unhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"); // P-256 by name, uncompressed (RFC 5480)
const POINT_BYTES = 64;
const KID_BYTES = 16;
const HEADER = unhex("a201260450"); // {1: -7, 4: the 16 bytes that follow}
const BEFORE_KID = concat(unhex("d28455"), HEADER); // tag 18, four parts, the protected header
const SIGNATURE_BYTES = 64;

/** A key that verifies, and its name. */
export interface Signer {
  kid: string;
  key: CryptoKey;
}

/** The name of a key, in hex: the first 16 bytes of H(SubjectPublicKeyInfo). */
export async function kidOf(spki: Bytes): Promise<string> {
  return hex((await digest(spki)).subarray(0, KID_BYTES));
}

/** The P-256 key in a SubjectPublicKeyInfo; Refused for anything else, a compressed point too. */
export async function signer(spki: Bytes, what: string): Promise<Signer> {
  try {
    if (spki.length !== SPKI.length + POINT_BYTES || !same(spki.subarray(0, SPKI.length), SPKI)) throw new Error();
    return { kid: await kidOf(spki), key: await crypto.subtle.importKey("spki", spki, ECDSA, false, ["verify"]) };
  } catch {
    throw new Refused(`${what} is not a P-256 public key (SubjectPublicKeyInfo, DER)`);
  }
}

interface Parts {
  kid: Bytes;
  payload: Bytes;
  signature: Bytes;
}

/** What a COSE_Sign1 consists of, whoever signed it; Refused where it has any other form than the protocol's. */
export function parts(data: Bytes, what: string): Parts {
  const at = BEFORE_KID.length;
  const end = data.length - SIGNATURE_BYTES;
  const kid = data.subarray(at, at + KID_BYTES);
  const lead = data[at + KID_BYTES + 1] ?? 0; // of the payload: a byte string, its length in the lead or after it
  const begin = at + KID_BYTES + 2 + (lead < 0x58 ? 0 : 1 << (lead - 0x58));
  const payload = data.subarray(begin, Math.max(0, end - 2));
  const before = concat(BEFORE_KID, kid, unhex("a0"), head(2, payload.length));
  const framed = same(data.subarray(0, begin), before) && same(data.subarray(begin + payload.length, end), unhex("5840"));
  if (end < begin || !framed) {
    throw new Refused(`${what} is not a COSE_Sign1 of the one form that version 1 has, signed with ES256`);
  }
  return { kid, payload, signature: data.subarray(end) };
}

/** The payload of `data`; Refused unless it is a `type` signed by `by`, by a signature in its low-s form. */
export async function verify(data: Bytes, type: string, by: Signer, what: string): Promise<Bytes> {
  const { kid, payload, signature } = parts(data, what);
  if (hex(kid) !== by.kid) {
    throw new Refused(`${what} is signed by key ${hex(kid)}, not by the registered ${by.kid}`);
  }
  const r = number(signature.subarray(0, 32));
  const s = number(signature.subarray(32));
  const fits = 0n < r && r < ORDER && 0n < s && s <= ORDER >> 1n;
  if (!fits || !(await crypto.subtle.verify(ECDSA, by.key, signature, toBeSigned(type, kid, payload)))) {
    throw new Refused(`the signature of ${what} does not fit: changed, or not a ${type}`);
  }
  return payload;
}

/** The Sig_structure; the object's type is its external_aad. */
export function toBeSigned(type: string, kid: Bytes, payload: Bytes): Bytes {
  const strings = [concat(HEADER, kid), utf8(type), payload].flatMap((bytes) => [head(2, bytes.length), bytes]);
  return concat(head(4, 4), head(3, 10), utf8("Signature1"), ...strings);
}
