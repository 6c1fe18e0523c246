"""The steps by which the registrar's database came to be: Alembic's environment and `versions`."""
