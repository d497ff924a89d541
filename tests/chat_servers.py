"""Chat servers on loopback: one that answers, and fails, by a script, and `transformers serve`."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest


def answer_by_seed(body: dict) -> str:
    """Right (A) for two seeds of three; the seed tells completions apart."""
    return f"<think>{body['seed']}</think><answer>{'AAB'[body['seed'] % 3]}</answer>"


@dataclass
class ChatServer:
    """What a test sets, and what it sees of the requests."""

    url: str = ""
    answer: Callable[[dict], str] = answer_by_seed
    message: dict | None = None
    """The whole message of every reply, in place of `answer`."""
    usage: object = None
    faults: deque[str] = field(default_factory=deque)
    """What goes wrong with the next requests, one each."""
    hang_after: int | None = None
    """From this many replies on, none comes until `release` is set."""
    release: threading.Event = field(default_factory=threading.Event)
    requests: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked_seeds(self) -> list[int]:
        return [body["seed"] for body in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        script: ChatServer = self.server.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with script.lock:
            script.requests.append(body)
            script.headers.append(dict(self.headers))
            fault = script.faults.popleft() if script.faults else None
            hangs = script.hang_after is not None and len(script.requests) > script.hang_after
        if hangs:
            script.release.wait(60)
        try:
            self._answer(script, body, fault)
        except BrokenPipeError:
            self.close_connection = True

    def _answer(self, script: ChatServer, body: dict, fault: str | None) -> None:
        if fault == "500":
            return self._send(500, "Internal Server Error")
        if fault == "429":
            return self._send(429, "slow down", {"Retry-After": "1"})
        if fault == "400":
            return self._send(400, '{"error": "the prompt is too long"}')
        if fault == "401":
            return self._send(401, f"no such key: {self.headers['Authorization']}")
        if fault == "time-out":
            script.release.wait(1.5)
        if fault == "malformed":
            return self._send(200, '{"choices": [')
        if fault == "no choices":
            return self._send(200, '{"object": "chat.completion"}')
        text = "" if script.message else script.answer(body)
        reason = "length" if text.endswith("<think>") else "stop"
        message = {"role": "assistant", **(script.message or {"content": text})}
        reply = {"choices": [{"message": message, "finish_reason": reason}], "usage": script.usage}
        if fault == "cut":
            return self._send(200, json.dumps(reply)[:20], {"Content-Length": "500"})
        with script.lock:
            script.replies.append(text)
        return self._send(200, json.dumps(reply))

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text.encode())), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())
        self.close_connection = status != 200 or "Content-Length" in (headers or {})


@pytest.fixture
def chat_server():
    """Makes servers that answer by their script."""
    servers, scripts = [], []

    def start() -> ChatServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.script = ChatServer(url=f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        scripts.append(server.script)
        return server.script

    yield start
    for server, script in zip(servers, scripts, strict=True):
        script.release.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(chat_server) -> ChatServer:
    return chat_server()


@pytest.fixture(scope="session")
def sampling_base(tiny_base, tmp_path_factory) -> Path:
    """The tiny base, as a server samples from it: the request cannot say `do_sample`, the model must."""
    model = tmp_path_factory.mktemp("served") / "base"
    shutil.copytree(tiny_base, model)
    path = model / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_sample": True}))
    return model


@pytest.fixture(scope="session")
def served(sampling_base, tmp_path_factory):
    """The address of a server of `sampling_base`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("transformers")
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                *(command, "serve", sampling_base, "--host", "127.0.0.1", "--port", str(port), "--dtype"),
                "float32",
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_health(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def wait_for_health(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").is_success:
                return
        time.sleep(0.5)
    raise AssertionError(log.read_text())
