// The script of the household's page: what htmx alone does not do.
import { follow } from "./live.ts";

for (const element of document.querySelectorAll<HTMLElement>("[data-events]")) follow(element);
