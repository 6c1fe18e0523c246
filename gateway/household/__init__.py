"""What the people in the home see and decide: in a browser, on a phone, over MQTT. In reading order:

- `configuration`  `household.toml`
- `settings`       what is chosen on the page: language, zone, the home's name
- `security`       the password, logins, the names that the page answers to, the certificate of the home
- `i18n`, `render` languages; templates
- `shown`, `words` times, numbers and what others wrote, as a page shows them; grants in words
- `objects`, `own`, `history`   the gateway's objects; grants to oneself; the sums of any time
- `prices`, `tariffs`, `money`, `plan`, `bills`   price series and tariffs; what energy costs, when it costs
  least, and what suppliers know of that
- `live`, `flow`, `troubles`   what the meters show now, where power flows, and what is wrong
- `periods`, `energy`   days, months and years of the home's calendar; their energy and what it cost
- `home`           all of it, opened: what every page works with
- `prices`         the price series that were accepted
- `money`          what energy costs, by a tariff or by price series
- `plan`           when loads are cheapest
- `bills`          what suppliers were told, beside the own sums
- `pages`          the pages, a module for each
- `server`         the HTTP server of the pages

It is a process of its own that faces the network and holds neither keys nor credentials of the store: it asks
the gateway over the control socket.
"""
