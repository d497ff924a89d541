"""The page in a browser: it lays out without complaint and asks for nothing."""

import re
import shutil
import socketserver
import subprocess
import threading

import pytest
from PIL import Image

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="chromium and google-chrome are missing"),
    pytest.mark.slow,
]
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


def test_the_page_asks_for_nothing(
    browse, write_evaluation, write_training, write_pass_at_k, report, tmp_path
):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (84, 84), (200, 30, 30)).save(tmp_path / "images/1.png")
    folder = write_evaluation("run/scores", detection_in=0.5, classify_in=0.5, math_in=0.5)
    rows = folder / "math_in.jsonl"
    hostile = "<img src=http://nowhere.invalid/a.png><script>fetch('http://nowhere.invalid/b')</script>"
    rows.write_text(rows.read_text().replace("It is at the top left.", hostile))
    write_training("run/stage1_judge", steps=60)
    write_pass_at_k("run/judge_pass_at_k.json")
    output = report(tmp_path / "run")
    elements, console, asked = browse(output / "report.html")
    assert console == []
    assert asked == []
    assert elements.count("<article") == 36
    assert elements.count("<svg") == 3 + 1 + 4
    assert elements.count('src="data:image/jpeg') == 36
    assert "fetch('http://nowhere.invalid/b')&lt;/script&gt;" in elements


def test_a_page_that_asks_is_noticed(browse, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><title>t</title><img src='http://nowhere.invalid/a.png'><script>no.such.thing()</script>"
    )
    _, console, asked = browse(page)
    assert any("nowhere.invalid/a.png" in line for line in asked)
    assert any("ReferenceError" in line for line in console)


def test_the_policy_stops_what_markup_would_load(browse, write_evaluation, report, tmp_path):
    page = report(write_evaluation("scores", math_in=0.5)) / "report.html"
    injected = (
        "<img src='http://nowhere.invalid/a.png'><script>fetch('http://nowhere.invalid/b')</script></body>"
    )
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", injected), encoding="utf-8")
    _, console, asked = browse(page)
    assert asked == []
    assert sum("Content Security Policy" in line for line in console) == 2
