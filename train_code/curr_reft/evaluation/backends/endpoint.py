"""Chat completions of an OpenAI-compatible server: vLLM, ``transformers serve``, a hosted service."""

import base64
import io
import json
import logging
import os
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx
from PIL import Image
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from curr_reft.errors import InputError

logger = logging.getLogger(__name__)

MODEL_KEY, JUDGE_KEY = "MODEL_API_KEY", "JUDGE_API_KEY"
"""The environment variables of the keys to the model that is asked, and to the one that judges."""
Message = dict[str, Any]
_PATH = "/v1/chat/completions"
# Too many requests, and what servers and the proxies before them answer while something restarts.
_PASSING = frozenset({408, 409, 425, 429, *range(500, 600)})
# A bad request, one that is too large, and one that cannot be processed.
_REFUSING = frozenset({400, 413, 422})
_LONGEST_WAIT = 60
_SHOWN_CHARACTERS = 200


class EndpointError(InputError):
    """A server does not answer, or refuses what it is asked; the message says which server and why."""


class RefusedError(EndpointError):
    """A server refuses a request, such as one that is too long; it may take others."""


class _PassingError(Exception):
    """A failure that may be over when the request is sent again."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Reply:
    """What a model answered."""

    text: str
    """All of it, thoughts that the server gives apart in their tags before the answer."""
    truncated: bool
    """Whether the limit of tokens ended it."""
    new_tokens: int | None = None
    """Tokens generated, `None` where the server does not say."""


def chat_url(address: str, flag: str) -> str:
    """The chat-completions URL of an address, which is that URL, a server, or a server's `/v1`.

    Raises:
        InputError: for what is no such address, or one with a password in it.
    """
    # No message repeats the address: where it is wrong it may hold a password.
    expected = f"{flag}: expected http://HOST:PORT or its full {_PATH} address"
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InputError(expected) from error
    if url.userinfo or url.query:
        raise InputError(
            f"{flag}: holds a password or a query; keys are read from the environment, see --help"
        )
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > 65535:
        raise InputError(expected)
    path = url.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = path.removesuffix("/v1") + _PATH
    return str(url.copy_with(path=path))


def data_uri(image: Image.Image) -> str:
    """An image as a PNG data URI: no pixel is changed on the way."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def user_message(text: str, image_uri: str | None = None) -> Message:
    """A user's message, its image before its text, as in training."""
    image = [{"type": "image_url", "image_url": {"url": image_uri}}] if image_uri else []
    return {"role": "user", "content": [*image, {"type": "text", "text": text}]}


@dataclass(frozen=True)
class ChatEndpoint:
    """A model behind a URL. Threads may share one."""

    url: str
    """From `chat_url`."""
    model: str
    key_variable: str
    """The environment variable that may hold the API key."""
    timeout: float = 600.0
    """Seconds that a server may stay silent while it is asked or answers."""
    attempts: int = 6
    """How often a request is sent before it counts as failed."""
    first_wait: float = field(default=0.5, repr=False)
    """The longest first wait between attempts, in seconds; it doubles from there, up to a minute."""

    has_answered: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    """Set with the first reply."""

    def ask(self, messages: list[Message], **options: Any) -> Reply:
        """The model's reply to a chat; `options` are other fields of the request, such as `temperature`.

        Failures that may pass (no connection, time-outs, 429, 5xx, a reply that is cut or no JSON) are tried
        again with growing random waits.

        Raises:
            EndpointError: when the last attempt fails, or the server refuses the request.
        """
        body = {"model": self.model, "messages": messages, **options}
        retrying = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=self._wait,
            retry=retry_if_exception_type(_PassingError),
            before_sleep=self._say,
            reraise=True,
        )
        try:
            return retrying(self._post, body)
        except _PassingError as error:
            times = f"{self.attempts} attempts" if self.attempts > 1 else "one attempt"
            raise EndpointError(f"{self.url}: no answer after {times}: {error}") from error

    def _post(self, body: dict[str, Any]) -> Reply:
        try:
            response = self._client.post(self.url, json=body)
        except httpx.RequestError as error:
            raise _PassingError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        if response.status_code in _PASSING:
            raise _PassingError(self._failure(response), _retry_after(response))
        if response.status_code != 200:
            kind = RefusedError if response.status_code in _REFUSING else EndpointError
            raise kind(f"{self.url}: {self._failure(response)}")
        try:
            reply = _reply(response.json())
        except (ValueError, RecursionError, LookupError, TypeError) as error:
            start = " ".join(response.text.split())[:_SHOWN_CHARACTERS]
            reason = f"the reply is no chat completion ({type(error).__name__}: {error}): {start}"
            raise _PassingError(self._without_key(reason)) from error
        self.has_answered.set()
        return reply

    def _failure(self, response: httpx.Response) -> str:
        body = self._without_key(" ".join(response.text.split()))
        return f"status {response.status_code}: {body[:_SHOWN_CHARACTERS]}"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _wait(self, state: RetryCallState) -> float:
        exponential = wait_random_exponential(multiplier=self.first_wait, max=_LONGEST_WAIT)
        return max(exponential(state), state.outcome.exception().wait)

    def _say(self, state: RetryCallState) -> None:
        failure, wait = state.outcome.exception(), state.next_action.sleep
        logger.warning(
            "%s: %s; attempt %d of %d follows in %.1f s",
            *(self.url, failure, state.attempt_number + 1, self.attempts, wait),
        )

    @property
    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        # Libraries show a header that they refuse.
        if key and not (key.isascii() and key.isprintable()):
            raise InputError(f"{self.key_variable}: holds characters that no HTTP header takes")
        return key

    @cached_property
    def _client(self) -> httpx.Client:
        # It would log every request.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # As many connections as there are threads: the caller bounds them.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.Client(headers=headers, timeout=self.timeout, limits=limits)


def _reply(document: Any) -> Reply:
    choice = document["choices"][0]
    message = choice["message"]
    content = message["content"]
    if not isinstance(content, str | None):
        raise TypeError(f"content is {json.dumps(content)[:_SHOWN_CHARACTERS]}")
    # transformers serve and, with a reasoning parser, vLLM take the thoughts out of the text.
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if thoughts:
        content = f"<think>{thoughts}</think>{content or ''}"
    usage = document.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return Reply(
        content or "",
        truncated=choice.get("finish_reason") == "length",
        new_tokens=tokens if isinstance(tokens, int) else None,
    )


def _retry_after(response: httpx.Response) -> float:
    """The seconds that a server asks to wait for, as far as it gives a number of them."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_WAIT) if value.isdecimal() else 0
