"""Who may see the pages, and under which names they answer. In reading order:

- `password`      the household's password, and the code that its first choice takes
- `logins`        the browsers that are logged in, which are listed and can be ended
- `metrics_token` the token that lets a monitoring system read the metrics
- `authority`     the home's own certificate authority
"""
