"""Messages."""

routes = ()
