"""The operator's pages at /operator: what the registrar knows, and the revocation of certificates. In reading
order:

- `logins`    who is logged in, by a cookie
- `survey`    what the database has, as rows of pages
- `pages`     the pages themselves

The pages are plain HTML with one style sheet and no script; a browser that runs none shows them all.
"""
