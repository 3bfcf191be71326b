"""Serve each visitor the page in their language.

English is at /, each other language of strings.LANGUAGES at its code (/ja). A visitor of / gets the language that they
chose by hand (?lang=ja, kept as a cookie), else the first language of their browser that the studio has.
"""

import html

from starlette.requests import Request
from starlette.responses import RedirectResponse

from breakascene.studio import strings

COOKIE = "breakascene-language"
YEAR_SECONDS = 365 * 24 * 3600


def language_middleware(app):
    """ASGI middleware that redirects / to the page in the visitor's language."""

    async def serve(scope, receive, send):
        if scope["type"] != "http" or scope["path"] != "/":
            return await app(scope, receive, send)
        request = Request(scope)
        chosen = request.query_params.get("lang")

        async def send_with_cookie(message):
            if message["type"] == "http.response.start" and chosen in strings.LANGUAGES:
                cookie = f"{COOKIE}={chosen}; Max-Age={YEAR_SECONDS}; Path=/; SameSite=Lax"
                message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
            await send(message)

        language, query = language_of(request), request.url.query
        page = app if language == "en" else RedirectResponse(f"{language}?{query}" if query else language)
        await page(scope, receive, send_with_cookie)

    return serve


def language_of(request: Request) -> str:
    """The visitor's language: as chosen now, as chosen before, as the browser says, else English."""
    accepted = [tag.strip()[:2] for tag in request.headers.get("accept-language", "").split(",")]
    candidates = [request.query_params.get("lang"), request.cookies.get(COOKIE), *accepted]
    return next((language for language in candidates if language in strings.LANGUAGES), "en")


# A busy server answers late. Gradio's page may then report a lost connection and reload its own address, which would
# undo the choice. So the address changes at once, and the reload loads the new one.
ON_CLICK = (
    "if (!event.ctrlKey && !event.metaKey) { history.pushState(null, '', this.href); location.reload(); return false }"
)


def language_links() -> str:
    """Links to the page in each language, as HTML."""
    current, on_click = strings.language.get(), f'onclick="{html.escape(ON_CLICK)}"'
    links = (
        f'<a href="./?lang={code}" lang="{code}"{" aria-current=true" if code == current else ""} {on_click}>{name}</a>'
        for code, name in strings.LANGUAGES.items()
    )
    return f'<nav id="languages">{"".join(links)}</nav>'
