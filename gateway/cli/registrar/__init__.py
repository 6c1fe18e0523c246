"""`gateway registrar`: the registrar's operator at work."""
