"""The operator's pages: load curves as they come, coverage, missing homes and alarms. In reading order:

- `shown`     regions and windows as rows of a page
- `entrance`  who may see the pages
- `pages`     the pages themselves
- `server`    the HTTP server

Scripts draw the curves and put in what changes; a browser that runs none shows the same numbers.
"""
