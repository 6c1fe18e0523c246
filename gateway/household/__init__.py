"""What the people in the home see and decide: in a browser, on a phone, over MQTT. In reading order:

- `configuration`   `household.toml`
- `settings`        what is chosen on the page: language, zone, the home's name, prices
- `security`        the password, logins, the names that the page answers to, the certificate of the home
- `i18n`, `shown`, `words`, `said`, `render`   languages; times, numbers and grants as a page shows them; what
  the gateway says; templates
- `files`, `browsers`   the files that pages refer to; browsers by name
- `objects`, `own`, `history`   the gateway's objects; grants to oneself; the sums of any time
- `prices`, `tariffs`, `money`, `plan`, `bills`   price series and tariffs; what energy costs, when it costs
  least, and what suppliers know of that
- `appliances`, `plan_picture`   the form of an appliance; the plan as a picture
- `live`, `flow`, `picture`, `troubles`   what the meters show now, where power flows, and what is wrong
- `periods`, `energy`   days, months and years of the home's calendar; their energy and what it cost
- `recent`          what was shown last, for the time in which the store does not answer
- `view`            views for a phone
- `draft`, `meter_form`, `tariff_form`   the configuration that the setup makes; forms that two pages have
- `mqtt`            one's own broker, and the utility's
- `home`            all of it, opened: what every page works with
- `pages`           the pages, a module for each
- `watching`        what a monitoring system asks
- `answers`         pages that answered a form, kept for a while
- `server`          the HTTP server of the pages
- `web`             the scripts, and the second reader of the protocol, in TypeScript

It is a process of its own that faces the network and holds neither keys nor credentials of the store: it asks
the gateway over the control socket.
"""
