// What the page says, in English and German.

const en = {
  title: (name: string) => `${name}: energy`,
  day: "Day",
  week: "Week",
  month: "Month",
  year: "Year",
  before: "Earlier",
  after: "Later",
  spans: "How long",
  meter: "Meter",
  import: "From the grid",
  export: "Into the grid",
  numbers: "The same in numbers",
  time: "Time",
  chart: (period: string, totals: string) => `${period}: ${totals}. The table below has the same numbers.`,
  opening: "Opening ...",
  nothing: "There are no readings for this time.",
  state: (when: string) =>
    `Sealed by your gateway up to ${when}. This page checked its signatures and opened the sums itself: ` +
    `the store knows none of them.`,
  empty: "Your gateway has not sealed anything yet.",
  late: (when: string) =>
    `Nothing newer than ${when} is in the store: your gateway has not sent anything since, or the store withholds it.`,
  revoked: (when: string) => `This view was revoked: it opens nothing after ${when}. Make a new one at the gateway.`,
  ended: (when: string) => `This view ended at ${when}. Make a new one at the gateway.`,
  noData: "This page needs the data of a view: open its whole link, or its file, as the gateway made it.",
  badData: "The data of this view are damaged or of another version: make a new one at the gateway.",
  noCrypto:
    "This page was opened over plain http, where browsers do not let it check signatures. Open it over https, " +
    "or as the file that the gateway made.",
  offline: "This phone is offline. Connect it, and the page goes on by itself.",
  unreachable: (host: string) => `The store ${host} does not answer: it may be down, or out of reach from this network.`,
  cors: (host: string) =>
    `The store ${host} answers, but does not let this page read it. It needs a CORS rule that allows GET from ` +
    `any origin: the gateway says how under "view policy".`,
  denied: (host: string) => `The store ${host} refuses this view's credentials: were they changed or removed?`,
  failed: (host: string, status: number) => `The store ${host} failed with status ${status}. Try again later.`,
  wrongKey: "The key of this view does not open its grant: make a new view at the gateway.",
  notFound: "The store does not hold this view's readings: they were moved or removed.",
  rolledBack: (why: string) => `The store shows an older state than this phone has seen: ${why}.`,
  refused: (why: string) => `What the store shows was not made by your gateway, or is not whole: ${why}.`,
  noEnergy: "This view opens no energy.",
};

const de: typeof en = {
  title: (name) => `${name}: Energie`,
  day: "Tag",
  week: "Woche",
  month: "Monat",
  year: "Jahr",
  before: "Früher",
  after: "Später",
  spans: "Zeitraum",
  meter: "Zähler",
  import: "Aus dem Netz",
  export: "Ins Netz",
  numbers: "Dasselbe in Zahlen",
  time: "Zeit",
  chart: (period, totals) => `${period}: ${totals}. Die Tabelle darunter hat dieselben Zahlen.`,
  opening: "Wird geöffnet ...",
  nothing: "Für diese Zeit gibt es keine Messwerte.",
  state: (when) =>
    `Von Ihrem Gateway versiegelt bis ${when}. Diese Seite hat die Unterschriften geprüft und die Summen selbst ` +
    `geöffnet: Der Speicher kennt keine davon.`,
  empty: "Ihr Gateway hat noch nichts versiegelt.",
  late: (when) =>
    `Im Speicher liegt nichts Neueres als ${when}: Ihr Gateway hat seitdem nichts gesendet, oder der Speicher hält es zurück.`,
  revoked: (when) => `Diese Ansicht wurde widerrufen: Sie öffnet nichts nach ${when}. Am Gateway lässt sich eine neue anlegen.`,
  ended: (when) => `Diese Ansicht galt bis ${when}. Am Gateway lässt sich eine neue anlegen.`,
  noData: "Diese Seite braucht die Daten einer Ansicht: Öffnen Sie den ganzen Link oder die Datei, wie das Gateway sie gemacht hat.",
  badData: "Die Daten dieser Ansicht sind beschädigt oder von anderer Version: Legen Sie am Gateway eine neue an.",
  noCrypto:
    "Diese Seite wurde über einfaches http geöffnet; dort lassen Browser sie keine Unterschriften prüfen. Öffnen " +
    "Sie sie über https oder als die Datei, die das Gateway gemacht hat.",
  offline: "Dieses Gerät ist offline. Sobald es verbunden ist, geht die Seite von selbst weiter.",
  unreachable: (host) => `Der Speicher ${host} antwortet nicht: Er ist ausgefallen oder von diesem Netz aus nicht erreichbar.`,
  cors: (host) =>
    `Der Speicher ${host} antwortet, lässt diese Seite aber nicht lesen. Er braucht eine CORS-Regel, die GET von ` +
    `jedem Ursprung erlaubt: Das Gateway sagt unter „view policy“, wie.`,
  denied: (host) => `Der Speicher ${host} weist die Zugangsdaten dieser Ansicht ab: Wurden sie geändert oder gelöscht?`,
  failed: (host, status) => `Der Speicher ${host} meldet den Fehler ${status}. Versuchen Sie es später wieder.`,
  wrongKey: "Der Schlüssel dieser Ansicht öffnet ihre Freigabe nicht: Legen Sie am Gateway eine neue Ansicht an.",
  notFound: "Der Speicher hat die Messwerte dieser Ansicht nicht: Sie wurden verschoben oder gelöscht.",
  rolledBack: (why) => `Der Speicher zeigt einen älteren Stand, als dieses Gerät gesehen hat: ${why}.`,
  refused: (why) => `Was der Speicher zeigt, hat nicht Ihr Gateway gemacht, oder es ist unvollständig: ${why}.`,
  noEnergy: "Diese Ansicht öffnet keine Energie.",
};

export type Words = typeof en;

/** The words of a language, "de-AT" or "en", and its tag for numbers and dates. */
export function wordsOf(language: string): { words: Words; tag: string } {
  const known = { de, en }[language.toLowerCase().slice(0, 2)];
  return known ? { words: known, tag: language } : { words: en, tag: "en" };
}
