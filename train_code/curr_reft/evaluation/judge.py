"""A model as judge, behind a URL: nothing is asked twice, but for a reply that can be read."""

import hashlib
import re
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from curr_reft.errors import InputError
from curr_reft.evaluation.backends.endpoint import JUDGE_KEY, ChatEndpoint, RefusedError, user_message
from curr_reft.evaluation.backends.refusals import Refusals
from curr_reft.evaluation.backends.threads import for_each
from curr_reft.evaluation.judge_reply import ReplyForm
from curr_reft.evaluation.judgements import Judgements, Verdict, digest_of

_PLACE = re.compile(r"\{\{(\w+)\}\}")
_MAX_TOKENS = 4096
_TEMPERATURE = 0.7


@dataclass(frozen=True)
class JudgePrompt:
    """A text with places such as ``{{answer}}``."""

    path: Path
    text: str
    sha256: str
    """Of the file."""

    def fill(self, **texts: str) -> str:
        """The text with these in their places; what looks like a place in one of them stays as it is."""
        return _PLACE.sub(lambda place: texts.get(place[1], place[0]), self.text)


def read_judge_prompt(path: Path, places: Sequence[str]) -> JudgePrompt:
    """Read a template; white space around it is no part of it.

    Raises:
        InputError: when it cannot be read, or lacks one of the places.
    """
    try:
        content = path.read_bytes()
        text = content.decode().strip()
    except OSError as error:
        raise InputError(f"--judge_prompt {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--judge_prompt {path}: not UTF-8 text ({error.reason})") from error
    there = set(_PLACE.findall(text))
    if missing := [place for place in places if place not in there]:
        raise InputError(f"--judge_prompt {path}: the place {{{{{missing[0]}}}}} is missing; write it in")
    return JudgePrompt(path, text, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class ModelJudge:
    """A model behind a URL, what it is asked and how it replies. Threads may share one."""

    endpoint: ChatEndpoint
    prompt: JudgePrompt
    form: ReplyForm
    attempts: int
    """How often it is asked for a reply that can be read."""
    images: bool = False
    """Whether it sees them."""

    @property
    def name(self) -> str:
        """The model's."""
        return self.endpoint.model

    @property
    def settings(self) -> str:
        """Digest of model, prompt and whether it sees images."""
        return digest_of(["llm", self.name, self.prompt.text, self.images])

    def about(self) -> dict[str, Any]:
        """What a record says of it."""
        return {
            "judge_model": self.name,
            "judge_prompt": str(self.prompt.path),
            "judge_prompt_sha256": self.prompt.sha256,
        }

    def judge_missing(
        self, judgements: Judgements, ask_about: Callable[[str], tuple[str, str | None]], threads: int
    ) -> None:
        """Judge what is missing, each saved as it comes; what is not judged in the end is saved as rejected.

        Args:
            ask_about: Gives the prompt, and the URI of an image, for an item by its id; threads call it.

        Raises:
            EndpointError: when the server fails; what came until then is saved.
            InputError: when the file cannot be written, and what `ask_about` raises.
        """
        refusals = Refusals[str](self.endpoint)
        missing, counting = list(judgements.missing.items()), threading.Lock()
        with tqdm(total=len(missing), desc="Judging", unit="judgement", disable=None) as progress:

            def judge(item: tuple[str, list[str]]) -> None:
                digest, (first, *_) = item
                try:
                    judgements.add([(digest, self._ask(*ask_about(first)))])
                except RefusedError as error:
                    refusals.hold(digest, error)
                with counting:
                    progress.update()

            try:
                for_each(missing, judge, threads)
            except InputError as error:
                saved = judgements.wanted - len(judgements.missing)
                counts = f"{saved} of {judgements.wanted} judgements are saved"
                raise type(error)(f"{error} ({counts}; started again it goes on from there)") from error
        judgements.add(
            (digest, Verdict(None, {"refusal": str(error)}, "refused by the judge's server"))
            for digest, error in refusals.all()
        )

    def _ask(self, prompt: str, image_uri: str | None) -> Verdict:
        replies = []
        for seed in range(self.attempts):
            # A greedy judge would say the same again.
            reply = self.endpoint.ask(
                [user_message(prompt, image_uri)],
                temperature=_TEMPERATURE if seed else 0.0,
                max_tokens=_MAX_TOKENS,
                seed=seed,
            )
            replies.append(reply.text)
            found = "cut off by its limit of tokens" if reply.truncated else self.form.parse(reply.text)
            if not isinstance(found, str):
                return Verdict(found.scores, {"reasons": found.reasons, "replies": replies})
        return Verdict(None, {"replies": replies}, f"the judge's reply: {found}")


def model_judge(
    flags: Namespace, form: ReplyForm, places: Sequence[str], images: bool = False
) -> ModelJudge | None:
    """The judge that the flags of `flags.add_judge_flags` name, `None` for ``--judge rule``.

    Raises:
        InputError: when its prompt cannot be used.
    """
    if flags.judge == "rule":
        return None
    prompt = read_judge_prompt(flags.judge_prompt, places)
    endpoint = ChatEndpoint(flags.judge_url, flags.judge_model, JUDGE_KEY, flags.timeout, flags.attempts)
    return ModelJudge(endpoint, prompt, form, flags.judge_attempts, images)
