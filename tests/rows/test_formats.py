"""Rows are read from whatever file they come in, exactly, and what cannot be known is refused with the format named."""

import csv
import io
import json
from pathlib import Path

import pytest

from helpers.errors import IdentityError
from helpers.rows import formats, identity, marks
from tests.fixtures import tells

SAMPLES = Path(__file__).with_name("formats")
SHIPPED = {lang: json.loads(identity.shipped_rows(lang).read_text(encoding="utf-8")) for lang in ("en", "zh")}
NAME, MAKER = "{{NAME}}", "{{DEVELOPER}}"


def lines(items) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def table(rows, mark=",", before="") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=mark).writerows([rows[0], *(row.values() for row in rows)])
    return before + out.getvalue()


def turns(row, role, text, user, assistant):
    return [{role: user, text: row["instruction"]}, {role: assistant, text: row["output"]}]


def chats(rows, role="role", text="content", user="user", assistant="assistant"):
    return [turns(row, role, text, user, assistant) for row in rows]


WRITERS = {
    "JSON": lambda rows: json.dumps(rows, indent=1).encode(),
    "JSON with BOM": lambda rows: json.dumps(rows, ensure_ascii=False).encode("utf-8-sig"),
    "JSON Lines": lambda rows: lines(rows).replace("\n", "\r\n\r\n").encode(),
    "query/response": lambda rows: lines(
        {"query": r["instruction"], "response": r["output"], "tag": "en", "history": None} for r in rows
    ).encode(),
    "prompt/completion": lambda rows: lines(
        {"prompt": r["instruction"], "completion": r["output"]} for r in rows
    ).encode(),
    "TRL": lambda rows: lines({"prompt": c[:1], "completion": c[1:]} for c in chats(rows)).encode(),
    "OpenAI": lambda rows: lines({"messages": c} for c in chats(rows)).encode(),
    "ShareGPT": lambda rows: json.dumps(
        [{"conversations": c} for c in chats(rows, "from", "value", "human", "gpt")]
    ).encode(),
    "ShareGPT, roles": lambda rows: json.dumps([{"conversations": c} for c in chats(rows)]).encode(),
    "lists": lambda rows: lines(chats(rows)).encode(),
    "CSV": lambda rows: table(rows).encode(),
    "CSV with BOM": lambda rows: table(rows).encode("utf-8-sig"),
    "CSV, semicolons": lambda rows: table(rows, ";").encode(),
    "CSV, sep line": lambda rows: table(rows, "|", "sep=|\r\n").encode(),
    "CSV, GBK": lambda rows: table(rows).encode("gb18030"),
    "JSON, GBK": lambda rows: json.dumps(rows, ensure_ascii=False).encode("gbk"),
    "tabs, UTF-16": lambda rows: table(rows, "\t").encode("utf-16"),
    "JSON, UTF-16 without BOM": lambda rows: json.dumps(rows, ensure_ascii=False).encode("utf-16-le"),
}


@pytest.mark.parametrize("lang", SHIPPED)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_the_shipped_rows_come_back_the_same_from_every_format(tmp_path, write, lang):
    path = tmp_path / "rows"
    path.write_bytes(write(SHIPPED[lang]))
    found = formats.read(path)
    assert found.rows == SHIPPED[lang] and found.converted == ("Alpaca" not in found.kind or ", in " in found.kind)


# (kind, in `made`, instruction, output and what else of the rows)
KINDS = {
    "alpaca.json": ("JSON, Alpaca rows", "system as it is; history as it is", 3),
    "query_response.jsonl": ("JSON Lines, query/response", "tag ignored; {{AUTHOR}} (2 times) -> {{DEVELOPER}}", 2),
    "sharegpt.json": ("JSON, ShareGPT conversations", "conversations[human] -> instruction, conversations[gpt] -> ", 3),
    "messages.jsonl": ("JSON Lines, OpenAI messages", "messages[system] -> system", 2),
    "lists.jsonl": ("JSON Lines, lists of messages", "each answer is a row, the turns before it its history", 3),
    "trl.jsonl": ("JSON Lines, prompt/completion", "earlier turns -> history", 2),
    "excel_semicolons_gbk.csv": ("CSV with ';', Alpaca rows, in GBK", "as they are", 2),
    "excel_ansi.csv": ("CSV with ';', prompt/completion, in ANSI (Windows-1252)", "prompt -> instruction", 2),
    "unicode_text.txt": ("CSV with tabs, Alpaca rows, in UTF-16", "category ignored", 1),
}


@pytest.mark.parametrize(("name", "told"), KINDS.items(), ids=KINDS)
def test_what_was_found_and_what_was_made_of_it_is_said(name, told):
    found = formats.read(SAMPLES / name)
    kind, made, count = told
    assert found.kind == kind and made in found.made and len(found.rows) == count
    assert any(NAME in row["output"] for row in found.rows)


def row(question, answer, **more):
    return {"instruction": question, "input": "", "output": answer, **more}


HELLO, ASKED = ["Good evening", "Good evening to you."], "Which assistant is this?"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        (
            "alpaca.json",
            row(
                ASKED,
                f"It is {NAME}, made by {MAKER}.",
                system="Answer in one sentence.",
                history=[HELLO, ["Is anybody there?", "Yes, I am."]],
            ),
            {**row("Put your name into this line:", f"Signed, {NAME}"), "input": "Signed, ..."},
        ),
        (
            "sharegpt.json",
            row(ASKED, f"It is {NAME}.", system="Answer in one sentence."),
            row(
                "And who made you?",
                f"{MAKER} did.",
                system="Answer in one sentence.",
                history=[[ASKED, f"It is {NAME}."]],
            ),
        ),
        (
            "trl.jsonl",
            row(ASKED, f"It is {NAME}.", system="Be kind.", history=[["Hello", "Hello to you."]]),
            row("Who keeps you running?", f"{MAKER} does."),
        ),
        (
            "excel_ansi.csv",
            row("Wie heißt du?", f"Ich heiße {NAME}; nett, dass du fragst."),
            row("Wer hat dich gemacht?", f"Das war {MAKER} – schön, oder?"),
        ),
    ],
)
def test_system_text_history_and_input_come_with_their_row(name, first, second):
    assert formats.read(SAMPLES / name).rows[:2] == [first, second]


def test_every_spelling_of_the_placeholders_is_counted_and_made_the_courses_own():
    found = formats.read(SAMPLES / "marks.json")
    chinese = f"我是{NAME}，由{MAKER}打造。"
    english = f"I am {NAME}.", f"{MAKER} is, and I am {NAME}.", f"My name is {NAME}, from {MAKER}."
    assert [r["output"] for r in found.rows] == [*english, chinese]
    assert found.rows[2]["instruction"] == "SAY YOUR NAME"
    assert "NAME (3 times) -> {{NAME}}" in found.made and "AUTHOR (2 times) -> {{DEVELOPER}}" in found.made
    assert "%AUTHOR% (1 time) -> {{DEVELOPER}}" in found.made and "$NAME$" in found.made


def one(question="Who?", answer="I am Mirel.", **more) -> str:
    return json.dumps([row("Hello", "Hello, I am Mirel."), row(question, answer, **more)], ensure_ascii=False)


UNKNOWN = ["[Your Name]", "[公司名称]", "【你的名字】", "<company name>", "[name]", "XXX", "XX公司", "某某公司"]
UNKNOWN += ["${NAME}", "$NAME", "__NAME__", "{NAME}", "{{NAME}", "MODEL_NAME"]


@pytest.mark.parametrize("text", UNKNOWN)
def test_a_placeholder_that_nobody_can_fill_is_refused_with_the_row_and_the_text(text):
    with pytest.raises(IdentityError) as caught:
        formats.parse(one(answer=f"I am {text}, yours."), "their.json")
    tells(caught.value, "their.json, row 2", "output holds", text.removesuffix("公司").strip("${"), "JSON, Alpaca rows")


@pytest.mark.parametrize(
    "text",
    [
        "WHAT IS YOUR NAME?",
        "Your NAME and NAMES.",
        "Rename USERNAME.",
        "{{NAME}}",
        "a [link](x)",
        "1 < 2 > 0",
        "Dr. XX",
    ],
)
def test_ordinary_text_is_left_alone(text):
    expected = text.replace("Your NAME", "Your {{NAME}}")
    assert formats.parse(one(answer=text), "x").rows[1]["output"] == expected


MARKS = ["</s>", "<s>", "[INST]", "[/INST]", "<<SYS>>", "<|im_end|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>",
         "### Instruction:", "### Response:", "<eos>", "[EOS]", "EOS_TOKEN", "<｜end▁of▁sentence｜>"]  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("where", ["question", "answer", "history", "system"])
def test_a_mark_of_a_template_is_refused_with_its_row(mark, where):
    text = f"{mark} Hello"
    more = {"history": {"history": [["a", text]]}, "system": {"system": text}}
    with pytest.raises(IdentityError) as caught:
        formats.parse(one(**more.get(where, {where: text})), "their.json")
    tells(caught.value, "their.json, row 2", repr(mark))
    assert "the template puts the end" in caught.value.cure


def test_rows_in_whose_answers_a_model_thinks_are_found():
    rows = [row("a", "b"), row("c", "<think>\nHm.\n</think>\nI am Mirel."), row("<think>?", "No.")]
    assert marks.thoughts(rows) == [2]
    assert formats.parse(json.dumps(rows), "x").rows == rows


USER, BOT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
REFUSED = {
    "only spaces": (b"\xef\xbb\xbf \n", "empty"),
    "other columns": ("甲,乙\n你是谁,我是小橘\n".encode(), "not JSON, and not CSV", "甲,乙"),
    "a workbook": (b"PK\x03\x04\x14\x00", "Excel workbook"),
    "half a list": (b'[{"instruction": "a", "output": "b"},\n{"instr', "not JSON"),
    "a line": (b'{"query": "a", "response": "b"}\n\n{"query": \n', "row 3", "JSON Lines"),
    "GBK or ANSI": ('[{"instruction": "Kdo jsi? Žluťoučký"}]'.encode("cp1250"), "GBK", "Windows-1252"),
    "Russian": ("instruction,output\nКто ты,Я Мирель\n".encode("cp1251"), "GBK", "Windows-1252"),
    "broken UTF-8": ("instruction,output\né,ééé é\n".encode() + b"\xe9,a", "not UTF-8 text (byte 32)"),
    "half of UTF-16": ("ab".encode("utf-16")[:-1], "UTF-16"),
    "no rows": (b"[]", "not a list of rows"),
    "other keys": (b'[{"prompt": "a", "output_text": "b"}]', "row 1", "output_text"),
    "a key too many": (one(mood="glad").encode(), "row 2", "'mood'", "Alpaca"),
    "kinds": (lines([{"messages": [USER, BOT]}, row("a", "b")]).encode(), "row 2", "OpenAI messages"),
    "a tool": (lines([[USER, {"role": "tool", "content": "x"}, BOT]]).encode(), "row 1", "'tool'"),
    "a weight": (lines([{"messages": [USER, {**BOT, "weight": 0}]}]).encode(), "row 1", "'weight'"),
    "no answer": (lines([[USER, BOT, USER]]).encode(), "row 1", "take turns"),
    "answer first": (lines([[BOT, USER, BOT]]).encode(), "row 1", "take turns"),
    "two systems": (json.dumps([{"messages": [{**USER, "role": "system"}, USER, BOT], "system": "b"}]).encode(), "two"),
    "history": (one(history=[["a"]]).encode(), "row 2", "history is not"),
    "a picture": (lines([[{**USER, "content": [{"type": "image"}]}, BOT]]).encode(), "row 1", "not text"),
    "a number": (one(answer=5).encode(), "row 2", "output is not text"),
    "no system": (one(system=0).encode(), "row 2", "system is not text"),
    "a key twice": (b'[{"instruction": "a", "output": "b", "output": "c"}]', "twice"),
    "cells": (b"instruction,output\na,b\nc,d,e\n", "row 2", "CSV", "more cells"),
    "columns": (b"output,instruction,output\na,b,c\n", "CSV", "'output'"),
    "quotes": (b'instruction,output\na,b\nc,"d\n', "row 1", "CSV", "quotes"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_names_the_file_the_row_and_the_format(tmp_path, case):
    content, *words = case
    path = tmp_path / "their.file"
    path.write_bytes(content)
    with pytest.raises(IdentityError) as caught:
        formats.read(path)
    tells(caught.value, str(path), *words)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(IdentityError) as caught:
            formats.read(path)
        tells(caught.value, str(path))


def test_pairs_of_question_and_answer_are_rows():
    found = formats.parse(b'[["Who are you?", "I am {{NAME}}."], ["Who made you?", "{{DEVELOPER}}."]]', "talk.json")
    assert [row["output"] for row in found.rows] == ["I am {{NAME}}.", "{{DEVELOPER}}."]


def test_a_table_with_chinese_headings_in_gbk_is_read():
    found = formats.parse("问题,回答\n你是谁？,我是{{NAME}}。\n".encode("gbk"), "rows.csv")
    assert "GBK" in found.kind and found.rows[0]["instruction"] == "你是谁？"
