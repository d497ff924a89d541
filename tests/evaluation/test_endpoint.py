"""The client of chat endpoints: addresses, what a reply may look like, what must not be shown."""

import pytest

from curr_reft.errors import InputError
from curr_reft.evaluation.backends.endpoint import ChatEndpoint, EndpointError, chat_url, user_message

FULL = "http://host:1/v1/chat/completions"


@pytest.mark.parametrize(
    "address",
    ["http://host:1", "http://host:1/", "http://host:1/v1", "http://host:1/v1/", FULL, f" {FULL}/ "],
)
def test_an_address_may_be_given_whole_or_in_part(address):
    assert chat_url(address, "--model_url") == FULL


@pytest.mark.parametrize("address", ["", "host:1", "ftp://host", "http://", "http://host:99999"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="--judge_url"):
        chat_url(address, "--judge_url")


@pytest.mark.parametrize(
    "address", ["http://u:secret@host", "ftp://u:secret@h", "http://u:secret@h:70000", "http://h?key=secret"]
)
def test_a_secret_in_an_address_is_refused_and_not_shown(address):
    with pytest.raises(InputError, match="--model_url: ") as caught:
        chat_url(address, "--model_url")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "yes"}, "yes"),
        ({"content": None}, ""),
        (
            {"content": "<answer>1</answer>", "reasoning_content": "one"},
            "<think>one</think><answer>1</answer>",
        ),
        ({"content": "<answer>1</answer>", "reasoning": "one"}, "<think>one</think><answer>1</answer>"),
        ({"content": None, "reasoning": "one"}, "<think>one</think>"),
        ({"content": "yes", "reasoning_content": None}, "yes"),
    ],
)
def test_thoughts_that_come_apart_are_put_before_the_answer(message, text, server):
    server.message = message
    endpoint = ChatEndpoint(chat_url(server.url, "--model_url"), "tested", "NO_KEY")
    assert endpoint.ask([user_message("?")]).text == text


@pytest.mark.parametrize(
    ("usage", "tokens"), [({"completion_tokens": 7}, 7), ([1], None), ("x", None), (None, None)]
)
def test_counts_of_tokens_are_numbers_or_nothing(usage, tokens, server):
    server.usage = usage
    endpoint = ChatEndpoint(chat_url(server.url, "--model_url"), "tested", "NO_KEY")
    server.answer = lambda body: "yes"
    assert endpoint.ask([user_message("?")]).new_tokens == tokens


def test_a_key_is_never_shown(server, monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-secret")
    server.faults.append("401")
    endpoint = ChatEndpoint(chat_url(server.url, "--model_url"), "tested", "A_KEY")
    with pytest.raises(EndpointError, match=r"status 401: no such key: Bearer \*\*\*"):
        endpoint.ask([user_message("?")])
    monkeypatch.setenv("A_KEY", "sk-\x07secret")
    with pytest.raises(InputError, match="A_KEY: holds characters") as caught:
        ChatEndpoint(chat_url(server.url, "--model_url"), "tested", "A_KEY").ask([user_message("?")])
    assert "secret" not in str(caught.value)
