"""The studio's MCP tools, driven by the protocol's own client, behind the login and the host check."""

import asyncio
import base64
import io
import json
import socket
import zipfile
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from helpers.studio import running_studio
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.generation.generate import read_metadata
from breakascene.studio import launch
from breakascene.studio.screens.select_actions import samples

pytest.importorskip("mcp", reason="needs gradio[mcp]")
LOGIN = ("guest", "open sesame")
BASIC = {"Authorization": "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_studio(tmp_path_factory.mktemp("mcp"), mcp=True, login=":".join(LOGIN)) as address:
        yield address


@asynccontextmanager
async def connected(address, **headers):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    server = streamablehttp_client(address + "/gradio_api/mcp/", headers={**BASIC, **headers})
    async with server as (read, write, _), ClientSession(read, write) as client:
        await client.initialize()
        yield client


def data_url(path):
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def center(mask):
    ys, xs = np.nonzero(mask)
    return [int(np.median(xs)), int(np.median(ys)), 1]


def image_of(content):
    return Image.open(io.BytesIO(base64.b64decode(content.data)))


def test_a_photo_becomes_pictures_tool_by_tool(address, tmp_path):
    scene = load_scene(samples()[0])
    photo = data_url(samples()[0] / "img.png")
    reported = []

    async def report(progress, total, message):
        reported.append((progress, total))

    async def chain():
        async with connected(address) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            first = await client.call_tool("segment", {"photo": photo, "points": [center(scene.concepts[0].mask)]})
            arguments = {"photo": first.structuredContent["photo"], "points": [center(scene.concepts[1].mask)]}
            second = await client.call_tool("segment", arguments)
            masks = [answer.structuredContent["mask"] for answer in (first, second)]
            names = [concept.name for concept in scene.concepts[:2]]
            arguments |= {"masks": masks, "names": names, "background": True, "steps": [2, 1]}
            del arguments["points"]
            run = await client.call_tool("extract", arguments, progress_callback=report)
            arguments = {"run": run.structuredContent["run"], "prompt": "a photo of <asset0> and <asset1>", "steps": 2}
            images = await client.call_tool("generate", {**arguments, "count": 2, "seed": 5})
            region = {"photo": photo, "mask": masks[0], "prompt": "a photo of <asset1>", "steps": 2}
            edited = await client.call_tool("edit", {"run": arguments["run"], **region})
            grid = {"run": arguments["run"], "places": ["at the beach"], "styles": ["a painting"], "steps": 2}
            sheet = await client.call_tool("sheet", grid)
            cropped = await client.call_tool("crop", {"image": photo, "formats": ["banner", "cutout"]})
            refused_crop = await client.call_tool("crop", {"image": photo, "formats": ["shop"], "upscale": True})
            exported = await client.call_tool("export", {"run": arguments["run"], "program": "kohya"})
            token = run.structuredContent["session"]
        async with connected(address) as stranger:
            refused = await stranger.call_tool("generate", arguments)
        async with connected(address, **{"X-Session": token}) as later:
            again = await later.call_tool("generate", arguments)
        return tools, first, run, images, edited, sheet, cropped, refused_crop, exported, refused, again

    tools, first, run, images, edited, sheet, cropped, refused_crop, exported, refused, again = asyncio.run(chain())
    assert all(tool.description for tool in tools.values())
    assert {name: tool.inputSchema["required"] for name, tool in tools.items()} == {
        "segment": ["photo"],
        "extract": ["photo", "masks"],
        "generate": ["run", "prompt"],
        "sheet": ["run"],
        "edit": ["run", "photo", "prompt"],
        "crop": ["image", "formats"],
        "export": ["run"],
    }
    for answer in (first, run, images, again):
        assert not answer.isError and json.loads(answer.content[0].text) == answer.structuredContent
    mask = np.asarray(image_of(first.content[1])) > 127
    assert (mask & scene.concepts[0].mask).sum() > 0.5 * (mask | scene.concepts[0].mask).sum()
    assert len(first.structuredContent["scores"]) == 3
    assert run.structuredContent["handles"] == ["<asset0>", "<asset1>", "<background>"]
    assert (run.structuredContent["state"], run.structuredContent["step"]) == ("done", 3)
    assert reported and all(total == 3 for _, total in reported)
    pictures = [image_of(content) for content in images.content[1:]]
    assert len(pictures) == 2 and all(picture.size == (256, 256) for picture in pictures)
    before, after = np.asarray(scene.photo), np.asarray(image_of(edited.content[1]))
    assert (before[~mask] == after[~mask]).all() and (before != after).any()
    assert [image_of(content).size[0] for content in sheet.content[1:]] == [10 + 2 * 266, 256, 256]
    banner, cutout = (image_of(content) for content in cropped.content[1:])
    assert banner.size == (1920, 600) and cutout.mode == "RGBA"
    assert refused_crop.isError and "no settings of this studio" in refused_crop.content[0].text
    pictures[1].save(path := tmp_path / "second.png", pnginfo=None)
    (tmp_path / "sent.png").write_bytes(base64.b64decode(images.content[2].data))
    metadata = read_metadata(tmp_path / "sent.png")
    assert metadata["prompt"] == "a photo of <asset0> and <asset1>" and metadata["seed"] + metadata["index"] == 6
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(exported.content[1].resource.blob)))
    assert not exported.isError and any(name.endswith(".safetensors") for name in archive.namelist())
    assert refused.isError and "object set was not found" in refused.content[0].text
    assert path.exists() and len(again.content) == 2


def test_invalid_arguments_get_one_sentence(address):
    sample = samples()[0]
    photo, mask = data_url(sample / "img.png"), data_url(sample / "mask0.png")
    outside = {"photo": photo, "points": [[9999, 5, 1]]}
    mistakes = [
        ("segment", outside, "lies outside the photo"),
        ("segment", {"photo": photo, "points": [["a", "b"]]}, "points"),
        ("segment", {"photo": "data:image/png;base64,?"}, "not a valid data URL"),
        ("segment", {"photo": "data:image/png;base64,AAAA", "points": [[5, 5, 1]]}, "not a readable image"),
        *(
            ("segment", {"photo": file, "points": [[5, 5, 1]]}, "The file is unknown")
            for file in ("/etc/passwd", "../manifest.json", "http://127.0.0.1/photo.png", "file-0", "", __file__)
        ),
        ("extract", {"photo": photo, "masks": []}, "There is no mask"),
        ("extract", {"photo": photo, "masks": [mask], "preset": "grand"}, 'no preset "grand"'),
        ("generate", {"run": "../..", "prompt": "a photo"}, "object set was not found"),
        ("generate", {"prompt": "a photo"}, "run"),
    ]

    async def ask():
        async with connected(address) as client:
            return [await client.call_tool(tool, arguments) for tool, arguments, _ in mistakes]

    for (tool, arguments, sentence), answer in zip(mistakes, asyncio.run(ask()), strict=True):
        assert answer.isError and sentence in answer.content[0].text, (
            tool,
            str(arguments)[:80],
            answer.content[0].text,
        )
        assert "Traceback" not in answer.content[0].text


def test_an_uploaded_photo_can_be_named_by_its_address(address):
    sample = samples()[0]
    with httpx.Client(base_url=address) as program:
        program.post("/login", data=dict(zip(("username", "password"), LOGIN, strict=True)))
        photo = {"files": ("img.png", (sample / "img.png").read_bytes())}
        (path,) = program.post("/gradio_api/upload", files=photo).json()
    point = center(load_scene(sample).concepts[0].mask)

    async def ask():
        async with connected(address) as client:
            arguments = {"photo": f"{address}/gradio_api/file={path}", "points": [point]}
            return await client.call_tool("segment", arguments)

    assert not asyncio.run(ask()).isError


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic !"}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"guest:wrong").decode()}, 401),
        ({**BASIC, "Host": "evil.example"}, 421),
        ({**BASIC, "Origin": "https://evil.example"}, 403),
    ],
)
def test_nobody_gets_in_without_the_login_or_by_another_name(address, headers, status):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"Accept": "application/json, text/event-stream"}
    for path in ("/gradio_api/mcp", "/gradio_api/mcp/"):
        assert httpx.post(address + path, json=message, headers={**accept, **headers}).status_code == status
    for path in ("/gradio_api/mcp/sse", "/gradio_api/mcp/schema"):  # of Gradio's own server
        assert httpx.get(address + path, headers=BASIC).status_code == 404


def test_it_answers_on_this_machine_only(address):
    others = {ip for *_, (ip, *_) in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for ip in others:
        with pytest.raises(OSError), socket.create_connection((ip, int(address.rsplit(":", 1)[1])), timeout=5):
            pass


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("breakascene.studio.app.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "gradio\[mcp\]=='):
        launch(mcp=True)
