// What a reader does not accept.

/** An object that is invalid, or missing where it must be: a sentence that names it. */
export class Refused extends Error {
  override name = "Refused";
}

/** A store that shows an older state, or another history, than was seen before. */
export class RolledBack extends Refused {
  override name = "RolledBack";
}

/** A key that is not the grant's. */
export class WrongKey extends Refused {
  override name = "WrongKey";
}

/** A stream or a grant of which the store has nothing. */
export class NotFound extends Error {
  override name = "NotFound";
}
