// The script of the household's page: plots, what changes by itself, and the browser's time zone.
import { follow } from "./live.ts";
import { draw } from "./plot.ts";

for (const element of document.querySelectorAll<HTMLElement>("[data-events]")) follow(element);
for (const element of document.querySelectorAll<HTMLElement>(".plot[data-table]")) draw(element);

// A device's label has the setup code in its QR code, behind the #, which no server is sent.
const code = document.querySelector<HTMLInputElement>("[data-from-label]");
if (code && location.hash.length > 1) {
  code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

// A home that has chosen no time zone yet is most likely in the browser's.
const zone = document.querySelector<HTMLInputElement>("[data-own-zone]");
if (zone?.value === "UTC") zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
