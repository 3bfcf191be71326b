"""The studio's tools for other programs by the Model Context Protocol, asked by the protocol's own client."""

import ast
import asyncio
import base64
import socket

import numpy as np
import pytest
from helpers.studio import running_studio
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.studio import launch
from breakascene.studio.screens.select_actions import samples

pytest.importorskip("mcp", reason="needs gradio[mcp]")


def test_tools_are_offered_and_answer_on_this_machine_only(tmp_path, caplog):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    scene = load_scene(samples()[0])
    ys, xs = np.nonzero(scene.concepts[0].mask)
    photo = base64.b64encode((samples()[0] / "img.png").read_bytes()).decode()

    async def ask(address):
        server = streamablehttp_client(address + "/gradio_api/mcp/")
        async with server as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            answers = []
            for x in (int(np.median(xs)), 9999):
                arguments = {"photo": f"data:image/png;base64,{photo}", "points": [[x, int(np.median(ys)), 1]]}
                answers.append(await session.call_tool("segment", arguments))
            return tools, answers

    with running_studio(tmp_path, mcp=True) as address:
        assert "without a password" not in caplog.text
        others = {ip for *_, (ip, *_) in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
        for ip in others:
            with pytest.raises(OSError), socket.create_connection((ip, int(address.rsplit(":", 1)[1])), timeout=5):
                pass
        tools, (found, refused) = asyncio.run(ask(address))
        path, scores = ast.literal_eval(found.content[0].text)
        mask = np.asarray(Image.open(path["path"])) > 127
    assert {tool.name for tool in tools} == {"segment", "extract", "generate", "export"}
    assert all(tool.description for tool in tools)
    assert (mask & scene.concepts[0].mask).sum() > 0.5 * (mask | scene.concepts[0].mask).sum() and len(scores) == 3
    assert refused.isError and "lies outside the photo" in refused.content[0].text


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("breakascene.studio.app.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "gradio\[mcp\]=='):
        launch(mcp=True)
