"""Language models of the `transformers` library on this machine."""

from __future__ import annotations

import threading

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from lpr_lightning.annotation.chat import Answer, Prompt, RefusedError, Token
from lpr_lightning.nets.pretrained import load_pretrained


class LocalModel:
    """A causal language model from a folder or from the hub, asked one prompt at a time.

    At temperature 0 the likeliest token is taken; above it, draws are a function of the prompt, so that the same prompt
    has the same answer.

    Args:
        path: a folder that `save_pretrained` wrote, or a name on the hub.
        device: where it runs, such as `cpu` or `cuda`.

    Raises:
        MissingFileError: there is no such model.
    """

    def __init__(self, path: str, device: str = "cpu") -> None:
        self._tokenizer = load_pretrained(AutoTokenizer.from_pretrained, path)
        self._network = (
            load_pretrained(AutoModelForCausalLM.from_pretrained, path, use_safetensors=True).to(device).eval()
        )
        ends = self._network.generation_config.eos_token_id or self._tokenizer.eos_token_id
        self._ends: list[int] = ends if isinstance(ends, list) else [] if ends is None else [int(ends)]
        self._path, self._device = path, device
        self._one_at_a_time = threading.Lock()

    @property
    def model(self) -> str:
        """The path or name."""
        return self._path

    @torch.no_grad()
    def ask(self, prompt: Prompt) -> Answer:
        """Return the answer to one prompt.

        Raises:
            RefusedError: the prompt is longer than the model reads.
        """
        ids: Tensor = self._encoded(prompt)
        longest = int(vars(self._network.config).get("max_position_embeddings") or 0)
        if longest and ids.shape[1] >= longest:
            raise RefusedError(f"{ids.shape[1]} tokens, but the model reads {longest}")
        room = min(prompt.max_tokens, longest - ids.shape[1]) if longest else prompt.max_tokens
        drawn = {"do_sample": True, "temperature": prompt.temperature, "top_k": 0} if prompt.temperature > 0 else {}
        with self._one_at_a_time, torch.random.fork_rng(devices=self._cuda()):
            torch.manual_seed(int(prompt.key[:15], 16))
            made = self._network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=room,
                eos_token_id=self._ends or None,
                pad_token_id=self._tokenizer.pad_token_id or (self._ends or [0])[0],
                return_dict_in_generate=True,
                output_logits=bool(prompt.alternatives),
                **(drawn or {"do_sample": False}),
            )
        new = made.sequences[0, ids.shape[1] :]
        ended = len(new) > 0 and int(new[-1]) in self._ends
        text = self._tokenizer.decode(new, skip_special_tokens=True)
        tokens = self._tokens(new, made.logits, prompt.alternatives) if prompt.alternatives else ()
        return Answer(text, ids.shape[1], len(new), "stop" if ended else "length", tokens)

    def _encoded(self, prompt: Prompt) -> Tensor:
        """Return the token ids [1, S] of a conversation, by the model's chat template where it has one."""
        if self._tokenizer.chat_template:
            messages = [one._asdict() for one in prompt.messages]
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids: Tensor = self._tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        else:
            text = "\n\n".join([*(one.content for one in prompt.messages), ""])
            ids = self._tokenizer(text, return_tensors="pt")["input_ids"]
        return ids.to(self._device)

    def _tokens(self, new: Tensor, logits: tuple[Tensor, ...], count: int) -> tuple[Token, ...]:
        found = []
        for number, place in zip(new.tolist(), logits):
            log_prob = place[0].float().log_softmax(-1)
            best = log_prob.topk(min(count, len(log_prob)))
            others = [(self._word(one), value) for one, value in zip(best.indices.tolist(), best.values.tolist())]
            found.append(Token(self._word(number), float(log_prob[number]), tuple(others)))
        return tuple(found)

    def _word(self, number: int) -> str:
        return str(self._tokenizer.decode([number]))

    def _cuda(self) -> list[int]:
        return [torch.cuda.current_device()] if self._device.startswith("cuda") else []
