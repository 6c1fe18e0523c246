// Reads what a gateway publishes, from a store that nobody trusts: a second implementation of PROTOCOL.md.

export { verify } from "./audit.ts";
export type { Mark } from "./chain.ts";
export type { OpenGrant, Window } from "./grant.ts";
export { NotFound, Refused, RolledBack, WrongKey } from "./refused.ts";
export type { Get, List } from "./store.ts";
export { openStream, type Stream } from "./stream.ts";
