"""A studio with a login, and one without, which warns; test_mcp.py has one for this machine only."""

import urllib.error
import urllib.request

import pytest
from gradio_client import Client
from gradio_client.exceptions import AuthenticationError
from helpers.studio import running_studio

from breakascene.errors import UserError
from breakascene.studio import launch


def status_of(url: str) -> int:
    try:
        return urllib.request.urlopen(url).status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_login_is_required(tmp_path, caplog):
    with running_studio(tmp_path, host="0.0.0.0", login="guest:open sesame") as address:
        assert "without a password" not in caplog.text
        for path in ("config", "gradio_api/info"):
            assert status_of(f"{address}/{path}") == 401
        for page in ("", "ja"):
            text = urllib.request.urlopen(f"{address}/{page}").read().decode()
            assert '"auth_required":true' in text and "samples" not in text
        for login in (None, ("guest", "wrong")):
            with pytest.raises((AuthenticationError, ValueError)):
                Client(address, verbose=False, auth=login)
        client = Client(address, verbose=False, auth=("guest", "open sesame"))
        assert "/segment" in client.view_api(return_format="dict")["named_endpoints"]


def test_a_studio_without_a_login_warns(tmp_path, caplog):
    with running_studio(tmp_path, host="0.0.0.0"):
        assert "without a password" in caplog.text and "--login NAME:PASSWORD" in caplog.text


@pytest.mark.parametrize("login", ["guest", "guest:", ":secret"])
def test_an_incomplete_login_is_refused(login):
    with pytest.raises(UserError, match="NAME:PASSWORD"):
        launch(login=login)
