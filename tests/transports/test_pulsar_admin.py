"""The admin API as an HTTP server sees it: who we say we are, also to a proxy, and what is no admin API."""

import base64
import json
import threading
from collections import deque
from contextlib import closing
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infinitic.transports.pulsar_admin import Admin, NoAdmin
from infinitic.transports.pulsar_settings import read_settings

CREDENTIALS = base64.b64encode(json.dumps({"client_id": "ann", "client_secret": "hush"}).encode()).decode()


class Web(ThreadingHTTPServer):
    """Answers each path as it is told, the last answer again and again; keeps what was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Asked)
        self.answers: dict[str, deque[tuple[int, str]]] = {}
        self.asked: list[tuple[str, Message]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def says(self, path, *answers):
        self.answers[path] = deque(answers)

    def close(self):
        self.shutdown()
        self.server_close()


class Asked(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answers = self.server.answers[self.path]
        status, text = answers.popleft() if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET

    def log_message(self, *what):
        pass


@pytest.fixture
def web():
    with closing(Web()) as made:
        yield made


def admin(**table):
    return Admin(read_settings("pulsar://host:6650/a/b", table, "default"))


@pytest.fixture
def by_oauth2(web):
    web.says("/.well-known/openid-configuration", (200, json.dumps({"token_endpoint": f"{web.url}/token"})))
    web.says("/token", *((200, json.dumps({"access_token": one})) for one in ("old", "new")))
    key = f"data:application/json;base64,{CREDENTIALS}"
    return admin(admin_url=web.url, oauth2_issuer=web.url, oauth2_key_file=key)


def test_a_token_that_has_expired_is_asked_for_anew(web, by_oauth2):
    web.says("/admin/v2/clusters", (200, "[]"), (401, ""), (200, '["here"]'))
    answers = [by_oauth2.request("GET", "/clusters") for _ in range(2)]

    assert answers == [(200, []), (200, ["here"])]
    shown = [headers["Authorization"] for path, headers in web.asked if path.endswith("/clusters")]
    assert shown == ["Bearer old", "Bearer old", "Bearer new"]


def test_who_is_refused_with_a_new_token_too_is_told(web, by_oauth2):
    web.says("/admin/v2/clusters", (401, ""))

    with pytest.raises(NoAdmin, match=r"refuses GET /clusters \(401\)"):
        by_oauth2.request("GET", "/clusters")


def test_credentials_that_cannot_be_used_are_told_and_not_shown(web):
    with pytest.raises(NoAdmin, match="granted no token for the admin API: it lacks 'client_id'"):
        admin(admin_url=web.url, oauth2_issuer=web.url, oauth2_key_file="data:,{}").request("GET", "/clusters")


def test_a_proxy_is_told_who_this_is(web):
    web.says("http://elsewhere/admin/v2/clusters", (200, "[]"))
    through = web.url.replace("://", "://ann:h%40sh@")
    made = admin(admin_url="http://elsewhere", admin_proxy=through)

    assert made.request("GET", "/clusters") == (200, [])
    [(_, headers)] = web.asked
    assert headers["Proxy-Authorization"] == f"Basic {base64.b64encode(b'ann:h@sh').decode()}"
    assert "h%40sh" not in repr(read_settings("pulsar://host:6650/a/b", {"admin_proxy": through}, "default"))
