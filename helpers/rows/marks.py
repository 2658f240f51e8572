"""What stands in a row's text and is no text: placeholders in all spellings, marks of chat templates, thoughts."""

import re
from collections import Counter
from collections.abc import Sequence

# What the public files write for the name and for who made it.
TARGETS = {"name": "{{NAME}}", "author": "{{DEVELOPER}}", "developer": "{{DEVELOPER}}"}
_WORD = "(?:NAME|AUTHOR|DEVELOPER)"
_BRACKETS = ("<>", "[]", "【】", "［］", "＜＞", "$$", "%%")
PLACEHOLDER = re.compile(
    r"[{｛]{2}\s*(?i:name|author|developer)\s*[}｝]{2}|"
    + "|".join(rf"{re.escape(left)}\s*{_WORD}\s*{re.escape(right)}" for left, right in _BRACKETS)
    + rf"|(?<![\w$%{{\[<#@-]){_WORD}(?![A-Za-z0-9_$%}}\]>#@])"
    + rf"|(?<=[^\x00-\x7f]){_WORD}(?![A-Za-z0-9_$%}}\]>#@])"  # a Chinese character is a letter too, and no part of it
)
# Brackets in which only a person can tell what is meant, and the letters that stand for "such and such".
UNKNOWN = re.compile(
    r"[\[【［＜<{][^\[\]【】［］＜＞<>{}\n]{0,30}?"
    r"(?:\b(?i:your|name|company|developer|author|organi[sz]ation|team)\b"
    r"|公司|名称|名字|姓名|昵称|开发者|作者|团队|机构|你的|您的)"
    r"[^\[\]【】［］＜＞<>{}\n]{0,30}[\]】］＞>}](?!\()"
    r"|(?<![A-Za-z0-9])[Xx]{3,}(?![A-Za-z0-9])|(?<![A-Za-z0-9])[Xx]{2}(?=公司|团队|科技|大学|实验室)|某某"
)
STRAY = re.compile(rf"(?<![A-Za-z]){_WORD}(?![A-Za-z])")
TEMPLATE = re.compile(
    r"<\|[^|<>\n]{0,40}\|>|<\||<｜[^｜\n]{0,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>"
    r"|<(?:eos|bos|pad|unk|sop|eop|eod|eot)>|\[(?:EOS|BOS|PAD|UNK|CLS|SEP|gMASK|sMASK)\]|\bEOS_TOKEN\b"
    r"|^#{2,3} ?(?:Instruction|Response|Input|Output|Human|Assistant|User|System) ?:",
    re.MULTILINE | re.IGNORECASE,
)
SIGNS = re.compile(
    r"[{}<>\[\]$%#@_=｛｝＜＞［］【】]|[0-9]"
)  # beside NAME they make a placeholder of it, of whatever kind
TOKEN = re.compile(r"<\|")  # of all these, the one that no answer of a model holds by chance
THOUGHT = re.compile(r"</?(?:seed:)?think(?:ing)?>|◁/?think▷|<\|(?:begin|end)_of_thought\|>", re.IGNORECASE)


def placed(text: str, seen: Counter) -> str:
    """``text`` with {{NAME}} and {{DEVELOPER}} for every spelling that is known; ``seen`` counts what was changed.

    Left alone is a bare NAME where capitals are nothing special: in a sentence that is all in capitals, or after a
    word in capitals.
    """
    others = re.sub(rf"{_WORD}|\bAI\b", "", text)
    loud = re.search(r"[A-Z]{2}", others) and not re.search(r"[a-z\u4e00-\u9fff]", others)

    def put(match: re.Match) -> str:
        said, before = match.group(), text[max(0, match.start() - 30) : match.start()]
        if said.isalpha() and (loud or re.search(r"\b(?!AI\b)[A-Z]{2,}\s+$", before)):
            return said
        mark = TARGETS[re.sub("[^a-z]", "", said.lower())]
        if said.replace(" ", "") != mark:
            seen[said, mark] += 1
        return mark

    return PLACEHOLDER.sub(put, text)


def unplaced(text: str) -> str:
    """What in ``text`` may be a placeholder of a kind that nobody can fill, as it stands there; empty if nothing."""
    bare = re.sub(r"\{\{\s*(?:NAME|DEVELOPER)\s*\}\}", lambda m: " " * len(m.group()), text)
    if found := UNKNOWN.search(bare):
        return found.group()
    for found in STRAY.finditer(bare):
        around = bare[max(0, found.start() - 1) : found.start()] + bare[found.end() : found.end() + 1]
        if SIGNS.search(around):
            return bare[max(0, found.start() - 8) : found.end() + 8].strip()
    return ""


def thoughts(rows: Sequence[dict]) -> list[int]:
    """The numbers (from 1) of the rows in whose answers a model thinks: only a model that thinks can learn them."""
    return [n for n, row in enumerate(rows, 1) if THOUGHT.search(row["output"])]
