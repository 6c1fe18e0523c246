"""What every server of pages shares, the registrar's and the household's.

- `refusals`     the refusals that HTTP has a status of its own for
- `bodies`       bodies of requests, read with a limit
- `connections`  how many there may be, and how long one may ask for nothing
- `forms`        forms: from a page of this server, and from the browser that it was sent to
- `tokens`     the random tokens of browsers and of their forms
- `passwords`    passwords as argon2id digests
- `limits`       who has failed often waits ever longer
"""
