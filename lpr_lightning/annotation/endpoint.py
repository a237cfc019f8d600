"""Language models behind an OpenAI-compatible chat endpoint."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lpr_lightning.annotation.chat import Answer, EndpointError, Prompt, RefusedError, RetryableError, Token
from lpr_lightning.annotation.keys import read_key, without_key
from lpr_lightning.errors import LPRError, SettingError, checked_positive

if TYPE_CHECKING:
    from openai import APIStatusError
    from openai.types.chat import ChatCompletion

    from lpr_lightning.hparams import Plain

_LOCAL = ("localhost", "127.0.0.1", "::1")
_TRY_AGAIN = (408, 409, 425, 429)
_NEVER = {
    401: "check the key",
    402: "check the account",
    403: "check the key's rights",
    404: "check base_url and model",
}
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")


class ChatEndpoint:
    """A model behind an OpenAI-compatible endpoint, asked by the `openai` client.

    Each call is one request: waiting and asking again are `Asker`'s, which also keeps the budget. Every request carries
    the prompt's hash as `Idempotency-Key`: a gateway that knows such keys gives an answer again without charge.

    Args:
        model: the model's name at the endpoint.
        base_url: the endpoint, with its `/v1`; None for OpenAI's.
        api_key_env: the environment variable that holds the key; None where no key is needed.
        timeout: seconds until a request counts as lost.
        request: further fields of each request, such as `{reasoning_effort: low}`; a field of None is left out of it,
            such as `{max_tokens: null, max_completion_tokens: 2000}`.

    Raises:
        SettingError: no model, an address that is none, or a variable that is not set.
        LPRError: the package openai is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        timeout: float = 60.0,
        request: Mapping[str, Plain] | None = None,
    ) -> None:
        if not model:
            raise SettingError("model_name", model, "the name of a model at the endpoint")
        address = urlsplit(base_url or "https://api.openai.com/v1")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise SettingError("base_url", base_url, "an address such as http://localhost:8000/v1")
        if address.username or address.password:
            raise SettingError("base_url", address.hostname, "an address without user and password", "Use api_key_env")
        try:
            import openai
        except ImportError as error:
            raise LPRError(
                'a package is missing: openai. pip install "lpr-lightning[annotate]" installs it.'
            ) from error
        self._openai, self._key = openai, read_key(api_key_env)
        self.where = address.geturl()
        self._name, self._request = model, dict(request or {})
        local = openai.DefaultHttpxClient(trust_env=False) if address.hostname in _LOCAL else None
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=self.where,
            timeout=checked_positive("timeout", timeout),
            max_retries=0,
            http_client=local,  # requests to this machine go through no proxy
        )

    def __reduce__(self) -> str:
        raise TypeError("a client is not pickled: its key would be in the file")

    @property
    def model(self) -> str:
        """The model's name, with a hash of further fields where there are any."""
        if not self._request:
            return self._name
        fields = hashlib.sha256(json.dumps(self._request, sort_keys=True).encode()).hexdigest()
        return f"{self._name}#{fields[:8]}"

    def ask(self, prompt: Prompt) -> Answer:
        """Return the answer to one prompt, by one request."""
        openai = self._openai
        from openai.types.chat import ChatCompletion

        try:
            found = self._client.post(
                "/chat/completions",
                body=self._body(prompt),
                cast_to=ChatCompletion,
                options={"headers": {"Idempotency-Key": prompt.key}},
            )
            return _answer(found)
        except openai.APITimeoutError as error:
            raise RetryableError("timeout", charged=True) from error
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            raise RetryableError(f"connection lost ({cause})", charged=not cause.startswith("Connect")) from error
        except openai.APIStatusError as error:
            raise self._failure(error) from None  # its traceback would hold the request, and so the key
        except (openai.APIError, ValueError, TypeError, AttributeError) as error:
            raise RetryableError(
                f"an answer that is no chat completion ({type(error).__name__})", charged=True
            ) from error

    def _body(self, prompt: Prompt) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._name,
            "messages": [one._asdict() for one in prompt.messages],
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "response_format": {"type": "json_object"} if prompt.json else None,
            "logprobs": True if prompt.alternatives else None,
            "top_logprobs": prompt.alternatives or None,
        }
        return {name: value for name, value in (body | self._request).items() if value is not None}

    def _failure(self, error: APIStatusError) -> LPRError:
        """Return what a status of 400 and above means for us."""
        status = error.status_code
        told = error.body.get("message") if isinstance(error.body, dict) else None
        words = " ".join(without_key(told if isinstance(told, str) else error.message, self._key).split())[:300]
        if status in _NEVER or error.code in _SPENT:
            return EndpointError(self.where, f"status {status}, {words}", _NEVER.get(status, _NEVER[402]))
        if status in _TRY_AGAIN or status >= 500:
            return RetryableError(f"status {status}", _retry_after(error.response.headers))
        return RefusedError(f"status {status}, {words}")


def _answer(found: ChatCompletion) -> Answer:
    """Return the first choice of a completion.

    Raises:
        RetryableError: there is none, or it is empty.
    """
    if isinstance(found, str) or not found.choices:
        raise RetryableError("an answer that is no chat completion", charged=True)
    choice = found.choices[0]
    if refusal := choice.message.refusal:
        raise RefusedError(f"the model refused: {refusal[:200]}")
    if choice.finish_reason == "content_filter":
        raise RefusedError("the endpoint's content filter")
    text, usage = choice.message.content or "", found.usage
    tokens = tuple(
        Token(one.token, one.logprob, tuple((top.token, top.logprob) for top in one.top_logprobs))
        for one in (choice.logprobs.content or [] if choice.logprobs else [])
    )
    used = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return Answer(text, *used, choice.finish_reason or "stop", tokens)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `retry-after-ms` or `Retry-After` ask for; a date counts from now.

    >>> _retry_after({"retry-after": "2.5"}), _retry_after({"retry-after-ms": "100"}), _retry_after({})
    (2.5, 0.1, None)
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            try:
                return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
            except ValueError:
                continue
    return None
