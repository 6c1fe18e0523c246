// The script of the household's page: what htmx alone does not do.
export {};
