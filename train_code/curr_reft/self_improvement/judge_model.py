"""A model as judge: what it is asked about a candidate, and what it says."""

import json
import re
from functools import cached_property, lru_cache
from importlib import resources

from curr_reft.answers.region import extract_answer
from curr_reft.evaluation.backends.asking import ask_for_missing
from curr_reft.evaluation.backends.endpoint import ChatEndpoint, RefusedError, data_uri, user_message
from curr_reft.evaluation.backends.refusals import Refusals
from curr_reft.self_improvement.judge_images import shown_image
from curr_reft.self_improvement.judge_journal import JudgementFile, Verdict, digest_of, unfit
from curr_reft.self_improvement.judge_reply import parse_reply
from curr_reft.self_improvement.records import Candidate

_PLACE = "{{material}}"
_MAX_TOKENS = 4096
_TEMPERATURE = 0.7
# What servers and processors act on wherever it stands: special tokens, and the places of images.
_MARKER = re.compile(r"<(?!/?(?:think|answer)>)(?=\||/?[A-Za-z_-]++>)")


class ModelJudge:
    """A model behind a URL. Threads may share one."""

    def __init__(self, endpoint: ChatEndpoint, attempts: int, images: bool) -> None:
        """Ask `endpoint`, up to `attempts` times for a reply that can be read, with images or without."""
        self.name = endpoint.model
        self._endpoint, self._attempts, self._images = endpoint, attempts, images

    @cached_property
    def settings(self) -> str:
        """Digest of model, prompt and whether it sees images."""
        return digest_of(["llm", self.name, _template(), self._images])

    def judge_missing(self, judgements: JudgementFile, threads: int) -> None:
        """Judge what is missing, each saved as it comes.

        Raises:
            EndpointError: when the server fails; what came until then is saved.
            InputError: when an image cannot be used, or the file not be written.
        """
        # Candidates of a query follow each other, and so share its image.
        uri_of = lru_cache(maxsize=threads)(lambda *shown: data_uri(shown_image(*shown)))

        refusals = Refusals[str](self._endpoint)

        def ask(item: tuple[str, list[Candidate]]) -> None:
            digest, (candidate, *_) = item
            reason = unfit(candidate)
            if reason is not None:
                verdict = Verdict(None, {}, reason)
            else:
                shown = (candidate.image, candidate.stage, candidate.task, candidate.shown)
                uri = uri_of(*shown) if self._images and candidate.image is not None else None
                try:
                    verdict = self._ask(judge_prompt(candidate, self._images), uri)
                except RefusedError as error:
                    refusals.hold(digest, error)
                    return
            judgements.add([(digest, verdict)])

        ask_for_missing(
            list(judgements.missing.items()), ask, threads, judgements.by_digest, unit="judgement"
        )
        judgements.add(
            (digest, Verdict(None, {"refusal": str(error)}, "refused by the judge's server"))
            for digest, error in refusals.all()
        )

    def _ask(self, prompt: str, uri: str | None) -> Verdict:
        replies = []
        for seed in range(self._attempts):
            # A greedy judge would say the same again.
            reply = self._endpoint.ask(
                [user_message(prompt, uri)],
                temperature=_TEMPERATURE if seed else 0.0,
                max_tokens=_MAX_TOKENS,
                seed=seed,
            )
            replies.append(reply.text)
            found = "cut off by its limit of tokens" if reply.truncated else parse_reply(reply.text)
            if not isinstance(found, str):
                return Verdict(found.scores, {"reasons": found.reasons, "replies": replies})
        return Verdict(None, {"replies": replies}, f"the judge's reply: {found}")


def judge_prompt(candidate: Candidate, images: bool) -> str:
    """What the judge is asked about a candidate.

    What others wrote stands in one line of JSON, which no text can leave: quotes and line ends are escaped
    there, and so is the `<` of special tokens.
    """
    image_state = "none" if candidate.image is None else "shown" if images else "not shown"
    gold = candidate.solution
    material = {
        "query": candidate.prompt,
        "picture": image_state,
        "reference_answer": None if gold is None else extract_answer(gold) or gold,
        "response": candidate.completion,
    }
    line = _MARKER.sub(r"\\u003c", json.dumps(material, ensure_ascii=False))
    # JSON can spell half of a surrogate pair, which a request cannot carry; and two more ends of lines.
    line = line.encode(errors="replace").decode()
    line = line.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029").replace("\x85", r"\u0085")
    return _template().replace(_PLACE, line)


@lru_cache(maxsize=1)
def _template() -> str:
    return resources.files(__package__).joinpath("judge_prompt.txt").read_text(encoding="utf-8").strip()
