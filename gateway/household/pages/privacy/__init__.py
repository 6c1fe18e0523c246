"""The page Privacy: what left the house, who can open what of it, and the household's decisions on that.

- `overview`  the page itself: pictures of a day, grants, what they reveal together, requests
- `days`      the day that the pictures show
- `cards`     the cards of providers that the gateway knows
- `draft`     a grant as it is typed into the form
- `offer`     a new grant: the form, the preview, the confirmation
- `grants`    one grant: shown, narrowed, revoked
- `follows`   standing decisions to grant the bills of a provider's prices
- `requests`  what providers ask for: approved or declined
- `views`     the household's own views, for a phone
"""

from __future__ import annotations

from aiohttp import web

from gateway.household.pages.privacy import follows, grants, offer, overview, requests, views

routes: tuple[web.RouteDef, ...] = (
    *overview.routes,
    *offer.routes,
    *grants.routes,
    *follows.routes,
    *requests.routes,
    *views.routes,
)
