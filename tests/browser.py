"""A headless browser that tests open pages in: what it shows, complains about, and asks for."""

import re
import shutil
import socketserver
import subprocess
import threading

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = pytest.mark.skipif(BROWSER is None, reason="chromium and google-chrome are missing")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--proxy-bypass-list=<-loopback>", "--dump-dom"),
)


# The browser itself calls its maker, whatever page it shows.
OF_THE_BROWSER = re.compile(r"^[A-Z]+ (?:https?://)?[\w.-]*(?:google|googleapis|gstatic|gvt1)\.com[:/]")


class Proxy(socketserver.ThreadingTCPServer):
    """Takes what a browser asks a proxy for, answers nothing, and keeps the first line of each request."""

    daemon_threads = True

    def __init__(self):
        self.asked = []
        super().__init__(("127.0.0.1", 0), Listener)


class Listener(socketserver.StreamRequestHandler):
    def handle(self):
        self.server.asked.append(self.rfile.readline().decode(errors="replace").strip())


@pytest.fixture
def browse(tmp_path):
    """Opens a file; returns its elements as text, the console's lines, and what a proxy was asked for."""

    def run(path):
        with Proxy() as proxy:
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            flags = [
                f"--proxy-server=http://127.0.0.1:{proxy.server_address[1]}",
                f"--user-data-dir={tmp_path}/profile",
            ]
            command = [BROWSER, *QUIET, *flags, f"file://{path}"]
            result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
            proxy.shutdown()
            console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
            asked = [line for line in proxy.asked if not OF_THE_BROWSER.match(line)]
            return result.stdout, console, asked

    return run
