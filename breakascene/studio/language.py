"""The door of the page: each visitor is led to the page in their language.

English is at /, each other language of strings.LANGUAGES at its code (/ja). A visitor of / gets the language that they
chose by hand (?lang=ja, kept as a cookie), else the first of their browser's that the studio speaks.
"""

import html

from starlette.requests import Request
from starlette.responses import RedirectResponse

from breakascene.studio import strings

KEPT = "breakascene-language"  # the cookie
A_YEAR = 365 * 24 * 3600


def door(app):
    """ASGI middleware that opens the right page to whoever asks for /."""

    async def serve(scope, receive, send):
        if scope["type"] != "http" or scope["path"] != "/":
            return await app(scope, receive, send)
        request = Request(scope)
        chosen = request.query_params.get("lang")

        async def send_with_choice(message):
            if message["type"] == "http.response.start" and chosen in strings.LANGUAGES:
                cookie = f"{KEPT}={chosen}; Max-Age={A_YEAR}; Path=/; SameSite=Lax"
                message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
            await send(message)

        language, query = language_of(request), request.url.query
        page = app if language == "en" else RedirectResponse(f"{language}?{query}" if query else language)
        await page(scope, receive, send_with_choice)

    return serve


def language_of(request: Request) -> str:
    """The visitor's language: as chosen now, as chosen before, as the browser says, else English."""
    asked = [tag.strip()[:2] for tag in request.headers.get("accept-language", "").split(",")]
    wanted = [request.query_params.get("lang"), request.cookies.get(KEPT), *asked]
    return next((language for language in wanted if language in strings.LANGUAGES), "en")


# A busy studio answers late. Gradio's page may by then take its connection for lost and load its own address again,
# which would undo the choice: so the address is the new one at once.
GO = "if (!event.ctrlKey && !event.metaKey) { history.pushState(null, '', this.href); location.reload(); return false }"


def switch() -> str:
    """The links from one language to the other."""
    here, always = strings.language.get(), f'onclick="{html.escape(GO)}"'
    links = (
        f'<a href="./?lang={code}" lang="{code}"{" aria-current=true" if code == here else ""} {always}>{name}</a>'
        for code, name in strings.LANGUAGES.items()
    )
    return f'<nav id="languages">{"".join(links)}</nav>'
