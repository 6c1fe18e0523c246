// Parts of a page that change by themselves: an element with data-events names a stream of server-sent events,
// and an event's HTML is put over what the element in it shows whose data-event is the event's name. Nobody is
// asked while the page is hidden.

/** What an element holds, without the space between. */
function contents(element: Element): ChildNode[] {
  return [...element.childNodes].filter((node) => node.nodeType !== Node.TEXT_NODE || node.nodeValue!.trim());
}

/** Makes the children of `shown` those of `wanted`, and leaves alone what is the same: focus, and animations. */
function morph(shown: Element, wanted: Element): void {
  const before = contents(shown);
  const after = contents(wanted);
  after.forEach((node, at) => {
    const old = before[at];
    if (old === undefined) shown.append(node);
    else if (old instanceof Element && node instanceof Element && old.tagName === node.tagName) {
      for (const { name } of [...old.attributes]) if (!node.hasAttribute(name)) old.removeAttribute(name);
      for (const { name, value } of [...node.attributes]) {
        if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      }
      morph(old, node);
    } else if (old.nodeType === Node.TEXT_NODE && node.nodeType === Node.TEXT_NODE) {
      if (old.nodeValue !== node.nodeValue) old.nodeValue = node.nodeValue;
    } else old.replaceWith(node);
  });
  for (const old of before.slice(after.length)) old.remove();
}

export function follow(element: HTMLElement): void {
  let source: EventSource | undefined;
  let trial: number | undefined;
  const lost = document.createElement("p");
  lost.className = "warning";
  lost.setAttribute("role", "status");

  function begin(): void {
    source?.close();
    window.clearTimeout(trial);
    if (document.hidden) return;
    source = new EventSource(element.dataset["events"]!);
    for (const part of element.querySelectorAll<HTMLElement>("[data-event]")) {
      source.addEventListener(part.dataset["event"]!, ({ data }) => {
        lost.remove();
        const wanted = document.createElement("div");
        wanted.innerHTML = data;
        morph(part, wanted);
      });
    }
    source.onerror = () => {
      lost.textContent = element.dataset["lost"]!;
      if (!lost.isConnected) element.before(lost);
      // A browser tries again by itself, but for an answer that is no stream: then the login may have ended.
      if (source?.readyState === EventSource.CLOSED) trial = window.setTimeout(begin, 10_000);
    };
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source?.close();
    else begin();
  });
  begin();
}
