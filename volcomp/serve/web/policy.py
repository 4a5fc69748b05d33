"""Content-Security-Policy of the pages (W3C, CSP level 3): nothing runs, shows or is asked for but what is ours."""

from __future__ import annotations

# Of all pages. `form-action` lets forms go to this server alone, `frame-ancestors` keeps others from framing it.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# Of a series with its viewer. niivue 0.69.0 has the picture of its font inside its script, as a `data:` address; it
# needs nothing else beyond PAGE: no eval, no worker, no blob. WebAssembly in it (codecs of Zarr) stays forbidden.
VIEWER = PAGE.replace("img-src 'self'", "img-src 'self' data:")
