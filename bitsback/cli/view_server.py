"""The web server of `view`: a few bodies by name, on loopback, for who knows a random token."""

import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from bitsback.whole import WINDOWS

LOOPBACK = "127.0.0.1"
HOSTS = LOOPBACK, "localhost"  # another name that resolves to loopback is that of a hostile page
KINDS = {"png": "image/png", "json": "application/json", "": "text/html; charset=utf-8"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingTCPServer):
    """Serves `files`, {name: body}, which may change meanwhile, as `address`NAME, in threads."""

    daemon_threads = True
    allow_reuse_address = not WINDOWS  # where two servers would share a port

    def __init__(self, files: dict[str, bytes], port: int) -> None:
        self.files, self.token, self.nonce = files, secrets.token_urlsafe(), secrets.token_hex()
        super().__init__((LOOPBACK, port), Handler)
        self.address = f"http://{LOOPBACK}:{self.server_address[1]}/{self.token}/"
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """GET: 403 under another name of the host, 404 for all that is no name after the token."""

    server: Server
    timeout = 30  # seconds that a connection may be silent
    server_version, sys_version = "bitsback", ""

    def do_GET(self) -> None:
        hosts, path = self.headers.get_all("Host", []), self.path.partition("?")[0].split("/")
        if len(hosts) != 1 or hosts[0].partition(":")[0] not in HOSTS:
            return self.send_error(403)
        folder = "/".join(path[:-1]).encode()
        known = secrets.compare_digest(folder, f"/{self.server.token}".encode())
        body = self.server.files.get(path[-1]) if known else None
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", KINDS[path[-1].rpartition(".")[2]])
        self.end_headers()
        self.wfile.write(body if path[-1] else body.replace(b"NONCE", self.server.nonce.encode()))

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value.format(self.server.nonce))
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""
