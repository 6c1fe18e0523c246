"""What every server of pages shares: the registrar's, the household's and the load monitoring centre's.

- `refusals`     the refusals that HTTP has a status of its own for
- `bodies`       bodies of requests, read with a limit
- `connections`  how many there may be, and how long one may ask for nothing
- `forms`        forms: from a page of this server, and from the browser that it was sent to
- `tokens`       the random tokens of browsers and of their forms
- `logins`       who is logged in, by a cookie
- `passwords`    passwords as argon2id digests
- `hosts`        the names that a server answers to
- `headers`      the headers that bind the browser to what a page needs
- `tls`          TLS from the files of a certificate and its key
- `html`         the templates of operators' pages, and their style sheet
- `limits`       who has failed often waits ever longer
"""
