// The data of a view: in the page itself, or behind "#" in its address.

export interface Place {
  s: string; // the stream, the kid of its signer, the grant and its K_0: all in hex
  k: string;
  g: string;
  k0: string;
  name: string;
}

export interface View {
  v: 1;
  name: string;
  zone: string;
  lang?: string;
  e: string; // the store's address, its bucket (and the prefix in it) and region
  b: string;
  r: string;
  a: string; // credentials that may read
  s: string;
  streams: Place[];
}

const KEPT = "gateway-view"; // for this tab, so that it can be loaded again

/** The view's data, null where there are none. What stands behind "#" is taken out of the address. */
export function viewOf(page: Document): View | null {
  const own = page.getElementById("view")?.textContent?.trim();
  const behind = location.hash.slice(1);
  if (behind) {
    history.replaceState(null, "", location.pathname + location.search);
    keep(behind);
  }
  const text = own && own !== "null" ? own : decoded(behind || kept());
  if (!text) return null;
  const view = JSON.parse(text) as View;
  if (view.v !== 1 || !view.streams.length) throw new Error("another version");
  return view;
}

/** The text in base64url. */
function decoded(data: string): string {
  const binary = atob(data.replace(/-/g, "+").replace(/_/g, "/"));
  return new TextDecoder().decode(Uint8Array.from(binary, (char) => char.charCodeAt(0)));
}

function keep(data: string): void {
  try {
    sessionStorage.setItem(KEPT, data);
  } catch {
    // without storage, a page that is loaded again asks for its link
  }
}

function kept(): string {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}
