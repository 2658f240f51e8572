"""Chat templates of other models: what they do is found by trying them, and the one in use is made to fit the course.

`adapt` puts a few lines before a tokenizer's template (behind it too, where needed). Whoever reads it then (chat,
training with TRL, exported files) renders alike, and needs to know nothing of it. A template that fits stays as it is.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from helpers.errors import ModelError

MARK = "{#- Adapted by helpers/models/template.py: "  # the note follows, on the first line
DATE = {"d": "26", "m": "07", "b": "Jul", "B": "July", "Y": "2024", "y": "24", "A": "Friday", "a": "Fri"}
CURE = "use another instruct model: MODEL='Qwen/Qwen2.5-0.5B-Instruct', or 'embedded'"
MARKS = r"<(?:seed:)?think(?:ing)?>", r"</(?:seed:)?think(?:ing)?>"  # where a thought begins, and where it ends
THOUGHT = re.compile(rf"{MARKS[0]}.*?{MARKS[1]}\s*", re.DOTALL)
# Each is read from the top of a template, in this order, where it is needed.
CLOCK = "{{%- macro strftime_now(form) -%}}{}{{%- endmacro -%}}"
SAME_DAY = CLOCK.format("{{ form" + "".join(f" | replace('%{c}', '{text}')" for c, text in DATE.items()) + " }}")
NO_THOUGHT = "{%- set enable_thinking = false -%}"
SYSTEM_FIRST = (
    "{%- if messages | length > 1 and messages[0]['role'] == 'system' -%}"
    "{%- set told = messages[0]['content'] | trim -%}{%- set asked = messages[1]['content'] -%}"
    "{%- set asked = told + '\\n\\n' + asked if told else asked -%}"
    "{%- set messages = [{'role': messages[1]['role'], 'content': asked}] + messages[2:] -%}{%- endif -%}"
)
AS_PARTS = (
    "{%- set talk = namespace(turns=[]) -%}{%- for turn in messages -%}{%- set talk.turns = talk.turns + "
    "[{'role': turn['role'], 'content': [{'type': 'text', 'text': turn['content']}]}] -%}{%- endfor -%}"
    "{%- set messages = talk.turns -%}"
)
OWN_START = "{%- set answer_next = add_generation_prompt -%}{%- set add_generation_prompt = false -%}"
FIRST, ANSWER, SECOND, SYSTEM = "First qzask?", "Yes qzsay.", "Then qzmore?", "Qzrule."


@dataclass(frozen=True)
class Traits:
    """What a chat template does."""

    parts: bool  # a turn's content has to be a list of parts
    dated: bool  # it writes the day's date
    switch: bool  # ``enable_thinking`` turns thinking on and off
    thinks: bool  # a thought stands where an answer begins, if only an empty one
    system: str  # a system turn is "kept", "refused" or "dropped"
    start: str  # what it puts before an answer, trained or asked for; "" where its own generation prompt does that
    ends: bool  # it writes a token after an answer

    @property
    def note(self) -> str:
        """What is done about it, for the reader; empty where there is nothing to do."""
        done = {
            "a system text is put before the first question": self.system != "kept",
            "thinking is off": self.switch or self.thinks,
            f"the date in it is always {DATE['d']} {DATE['b']} {DATE['Y']}": self.dated,
            "a turn is handed over in parts": self.parts,
            "an answer begins as in training": bool(self.start) and not self.thinks,
            "an answer ends with the tokenizer's end token": not self.ends,
        }
        return "; ".join(said for said, needed in done.items() if needed)


def adapt(tokenizer, where: str = "the model", rows: int | None = None) -> str:
    """Make ``tokenizer`` fit for asking and training, template and padding; returns its `note`.

    ``rows`` is the size of the embedding. Raises `ModelError`, which says ``where`` the model is, where there is
    no template or one that fails, and for one under which a model would be trained on another text than it is asked
    with, or could not end an answer.
    """
    if not tokenizer.chat_template:
        raise ModelError(f"{where}: its tokenizer has no chat template: a base checkpoint does not answer", CURE)
    try:
        own = tokenizer.get_chat_template()
        whole = own if own.startswith(MARK) else adapted(own, traits(tokenizer, own))
        reason = _fault(tokenizer, whole)
    except Exception as e:  # a template is a program of somebody else's, and fails as it likes
        reason = f"fails on a plain question ({(str(e).strip().splitlines() or [type(e).__name__])[0][:200]})"
    if not reason:
        tokenizer.chat_template = whole
        end = end_of_turn(tokenizer)
        reason = "ends an answer with a token that the model has no place for" if rows and end >= rows else ""
    if reason:
        raise ModelError(f"{where}: its chat template {reason}", f"mend it, or {CURE}")
    if not getattr(tokenizer.added_tokens_decoder.get(end), "special", True):  # else it would be shown
        tokenizer.add_tokens([tokenizer.convert_ids_to_tokens(end)], special_tokens=True)
    if tokenizer.pad_token is None or (rows and tokenizer.pad_token_id >= rows):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end)
    return note(tokenizer)


def note(tokenizer) -> str:
    """What was done to the chat template, a line to tell the reader; empty if nothing was."""
    text = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    return f"The chat template was adapted: {text[len(MARK) :].partition(' -#}')[0]}." if text.startswith(MARK) else ""


def adapted(own: str, found: Traits) -> str:
    """The template ``own`` with what its traits need around it; itself if they need nothing."""
    if not found.note:
        return own
    before = SAME_DAY * found.dated + NO_THOUGHT * found.switch + SYSTEM_FIRST * (found.system != "kept")
    before += AS_PARTS * found.parts + OWN_START * bool(found.start)
    # Jinja drops a last line break, and the first one after a block; the rest must be read as if it stood alone.
    after = f"{{{{ {json.dumps(found.start, ensure_ascii=False)} if answer_next else '' }}}}" if found.start else ""
    after += "" if found.ends else "{{ eos_token if messages[-1]['role'] == 'assistant' else '' }}"
    return f"{MARK}{found.note} -#}}{before}{{%- set adapted = true %}}\n{own.removesuffix(chr(10))}{after}"


@lru_cache(8)
def traits(tokenizer, own: str) -> Traits:
    """Find out what the template ``own`` does, by rendering short talks; raises whatever it raises."""

    def read(before: str = "", system: bool = False, **how) -> str:
        turns = [_turn("system", SYSTEM), _turn("user", FIRST)] if system else [_turn("user", FIRST)]
        return _render(tokenizer, f"{before}{{%- set adapted = true %}}\n{own}", turns, True, **how)

    parts = FIRST not in read()
    base = AS_PARTS * parts
    days = {read(CLOCK.format(day) + base) for day in ("one", "two")}
    switch = read(base, enable_thinking=False) != read(base, enable_thinking=True)
    base = NO_THOUGHT * switch + base
    try:
        system = "kept" if SYSTEM in read(base, system=True) else "dropped"
    except Exception:  # it says so in its own words
        system = "refused"
    plain = Traits(parts, len(days) > 1, switch, False, system, "", True)
    begun, whole = (_render(tokenizer, adapted(own, plain), _talk(False, 1), ask) for ask in (False, None))
    head, _, tail = whole.rpartition(ANSWER)
    thinks = bool(re.search(MARKS[0], head + read()))
    ends = bool(end_tokens(tokenizer, tail)) or bool(tail.strip())
    # Spaces and line breaks at its end may be cut into other tokens once an answer follows: some are then left out.
    lead = head.removeprefix(begun)
    for start in ("", *(lead[: len(lead) - n] for n in range(len(lead) - len(lead.rstrip()) + 1))):
        found = Traits(parts, plain.dated, switch, thinks, system, start, ends)
        if not _fault(tokenizer, adapted(own, found)):
            break
    return found


def _fault(tokenizer, template: str) -> str:
    # Why a template does not do: every talk must be read in training as it is when the model is asked.
    for system, turns in product((None, "", SYSTEM), (1, 2)):
        talk = _talk(system, turns)
        prompt, whole = _render(tokenizer, template, talk, True), _render(tokenizer, template, talk, None)
        if lost := [turn["content"] for turn in talk[:-1] if turn["content"] not in prompt]:
            return f"leaves the question out, or another turn ({lost[0]!r})"
        ids, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole))
        rest = whole[len(prompt) :]
        if both[: len(ids)] != ids or not whole.startswith(prompt) or not rest.lstrip().startswith(ANSWER):
            return "puts another text before an answer in training than when the model is asked"
        if not end_tokens(tokenizer, rest.partition(ANSWER)[2]):
            return "ends an answer with no token that the tokenizer knows as one"
    return ""


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _talk(system: str | bool | None, turns: int) -> list[dict[str, str]]:
    said = [_turn("system", system)] if isinstance(system, str) else []
    before = [_turn("user", SECOND), _turn("assistant", "Well qzwell.")] if turns == 2 else []
    return [*said, *before, _turn("user", FIRST), _turn("assistant", ANSWER)]


def _render(tokenizer, template: str, talk: list, ask: bool | None, **how) -> str:
    # ``ask`` True: up to where the answer begins; False: the same without the generation prompt; None: all of it.
    talk = talk if ask is None or talk[-1]["role"] != "assistant" else talk[:-1]
    how |= {"chat_template": template, "tokenize": False, "add_generation_prompt": bool(ask)}
    return tokenizer.apply_chat_template(talk, **how)


def end_tokens(tokenizer, tail: str) -> list[int]:
    """The tokens in ``tail``, what a template writes after an answer, that are tokens of their own, not pieces."""
    return [i for i in tokenizer(tail, add_special_tokens=False)["input_ids"] if i in tokenizer.added_tokens_decoder]


def end_of_turn(tokenizer) -> int | None:
    """The token with which the chat template ends an answer; the tokenizer's own end token if it writes none."""
    return _end_of_turn(tokenizer, str(tokenizer.chat_template))


def stops(model, tokenizer) -> list[int]:
    """Every token that ends an answer: the model's own settings and its tokenizer need not know the template's."""
    own = model.generation_config.eos_token_id  # a number, a list, or none
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id, end_of_turn(tokenizer)}
    return sorted(ends - {None})


@lru_cache(8)
def _end_of_turn(tokenizer, template: str) -> int | None:
    try:
        tail = _render(tokenizer, None, _talk(None, 1), None).rpartition(ANSWER)[2]
    except Exception:  # a template nobody adapted
        tail = ""
    return next(iter(end_tokens(tokenizer, tail)), tokenizer.eos_token_id)


def spoken(text: str, whole: bool = True) -> str:
    """An answer without its thoughts, the first of which may have begun before it, and the last may have no end.

    Without ``whole`` the answer goes on: what may yet become the mark of a thought is held back.
    """
    text = re.split(rf"{MARKS[1]}\s*", THOUGHT.sub("", text))[-1]
    text = re.split(MARKS[0], text)[0]
    last = text.rfind("<")
    return text if whole or last < 0 or ">" in text[last:] or len(text) - last > 15 else text[:last]
