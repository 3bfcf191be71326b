"""The studio's two languages: the same texts in both, none left in English, and the choice of the language."""

import ast
import pickle
import re
from pathlib import Path
from string import Formatter

import pytest
import torch
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import breakascene
from breakascene.errors import TranslatableMessage, UserError
from breakascene.models.concepts import Concepts
from breakascene.models.handles import check_prompt
from breakascene.studio import strings
from breakascene.studio.language import language_middleware
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.strings import en, ja

TEXTS = {name for name in vars(en) if name.isupper()} - {"MESSAGES"}
ENGLISH = re.compile(r"[A-Za-z']{2,}( [A-Za-z']{2,})+")  # two words of English in a row
PROPER = re.compile(r"<code>.*?</code>|Hugging Face|Stable Diffusion|a photo of <asset0> at the beach")


def leaves(value, path=""):
    """The texts of a nested value by their paths; keys and other values are part of the path."""
    if isinstance(value, str):
        return {path: value}
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list | tuple):
        value = enumerate(value)
    else:
        return {f"{path}={value!r}": ""}
    return {inner: text for key, part in value for inner, text in leaves(part, f"{path}/{key}").items()}


def fields(text):
    return {field for _, field, _, _ in Formatter().parse(text) if field is not None}


def test_both_languages_have_the_same_texts_with_the_same_fields():
    assert {name for name in vars(ja) if name.isupper()} - {"MESSAGES"} == TEXTS
    for name in TEXTS:
        english, japanese = leaves(getattr(en, name)), leaves(getattr(ja, name))
        assert {path: fields(text) for path, text in english.items()} == {
            path: fields(text) for path, text in japanese.items()
        }, name
    assert [value for _, value in en.TOOLS] == [value for _, value in ja.TOOLS]


def test_every_text_is_used_and_every_used_text_exists():
    sources = Path(strings.__file__).parents[1].rglob("*.py")
    used = {name for path in sources for name in re.findall(r"\bstrings\.([A-Z][A-Z_0-9]*)\b", path.read_text("utf-8"))}
    used |= set(re.findall(r'get_text\("(\w+)"\)', Path(strings.__file__).read_text("utf-8")))
    assert {name for name in used if name not in vars(strings)} - {"MESSAGES"} == TEXTS


def test_no_english_is_left_in_the_japanese_texts():
    texts = [text for name in TEXTS for text in leaves(getattr(ja, name)).values()]
    for text in (*texts, *ja.MESSAGES.values()):
        assert not ENGLISH.search(PROPER.sub("", text)), text


def test_messages_of_the_core_have_japanese_translations():
    templates, plain, errors = set(), set(), ("UserError", "DownloadFailed", "TranslatableMessage")
    for path in Path(breakascene.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in errors:
                template = call.args[-1]
                if isinstance(template, ast.Constant):
                    (templates if call.keywords else plain).add(template.value)
    assert templates <= set(ja.MESSAGES) <= templates | plain
    assert set(en.MESSAGES) <= templates | plain  # reworded for the studio
    for template, translated in (*en.MESSAGES.items(), *ja.MESSAGES.items()):
        assert fields(translated) <= fields(template)


def test_errors_are_in_the_visitors_language():
    with pytest.raises(UserError, match=r"<asset7> is an unknown handle: this run knows <asset0>\.") as caught:
        check_prompt("a <asset7>", ["<asset0>"])
    assert strings.message_for(caught.value) == str(caught.value)
    with strings.use_language("ja"):
        assert strings.message_for(caught.value) == "<asset7> というハンドルはありません。使えるのは <asset0> です。"
        assert strings.message_for(UserError("An unknown {template}.")) == "An unknown {template}."
        assert strings.NO_PHOTO == ja.NO_PHOTO and strings.format_duration(130) == "約 2 分"
    assert strings.NO_PHOTO == en.NO_PHOTO and strings.format_duration(130) == "about 2 min"


def test_concepts_of_another_base_are_reported_in_the_studios_words(sd_base):
    concepts = Concepts((), (), "toybox", "", {}, 0, (), torch.zeros(0), {})
    with pytest.raises(UserError) as caught, concepts.applied(sd_base):
        pass
    assert "extracted with another base model (toybox)" in strings.message_for(caught.value)
    with strings.use_language("ja"):
        assert strings.message_for(caught.value).startswith("別のベースモデル（toybox）で抽出したオブジェクトです。")


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UserError("{photo} is bad", photo="a{b}.png")))
    assert str(error) == "a{b}.png is bad" and error.args[0].values == {"photo": "a{b}.png"}
    assert isinstance(error.args[0], TranslatableMessage)


def test_every_sample_has_a_name_in_each_language():
    assert {folder.name for folder in samples()} == set(en.SAMPLE_NAMES)


@pytest.fixture
def visit():
    """A new browser that keeps its cookies."""
    routes = [Route(path, lambda request: PlainTextResponse(request.url.path)) for path in ("/", "/ja")]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(language_middleware)]))


@pytest.mark.parametrize(
    ("accepts", "page"),
    [("ja-JP,ja;q=0.9,en;q=0.8", "/ja"), ("en-GB,ja;q=0.5", "/"), ("fr,ja;q=0.8,en;q=0.5", "/ja"), ("de", "/")],
)
def test_the_browsers_language_decides_at_the_first_visit(visit, accepts, page):
    assert visit.get("/", headers={"accept-language": accepts}).text == page


def test_a_chosen_language_is_remembered(visit):
    japanese = {"accept-language": "ja"}
    assert visit.get("/?lang=en", headers=japanese).text == "/" == visit.get("/", headers=japanese).text
    assert visit.get("/?lang=ja").text == "/ja" == visit.get("/").text
    assert visit.get("/?lang=xx").text == "/ja"
    assert visit.get("/?session=abc").url.query == b"session=abc"
