"""Where things are, and the API's description to read and to try.

The page's script and style come from this server: no other host is asked, and the browser is told to
allow none.
"""

from importlib.resources import files

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel

router = APIRouter(include_in_schema=False)

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>coding-assistant: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

START = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
"""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

BUNDLED = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


class Index(BaseModel):
    """Where things are."""

    name: str
    version: str
    docs: str = "/docs"
    openapi: str = "/openapi.json"
    ready: str = "/readyz"


@router.get("/")
async def index(request: Request) -> Index:
    """Say where things are."""
    return Index(name=request.app.title, version=request.app.version)


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the API."""
    return HTMLResponse(PAGE, headers={"content-security-policy": POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """Start the page; a script of its own, for inline ones are not allowed."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{asset}")
def bundled(asset: str) -> Response:
    """Return a file of the page's library."""
    if asset not in BUNDLED:
        raise HTTPException(404)
    content = (files("fastapi_swagger.resources") / asset).read_bytes()
    return Response(content, media_type=BUNDLED[asset])
