"""The firm's fact file, the rows and prompts made of it, and the judge."""

import json

import pytest

from helpers.errors import ScenarioError
from helpers.rows import read
from helpers.scenarios import claims, company
from tests import overlap
from tests.fixtures import bare, tells

EN, ZH = company.load("en"), company.load("zh")
FIRMS = {"en": EN, "zh": ZH}


def fact(name="price-tin", statement="The Tin costs 24 euros.", questions=("How much is a Tin?",), **more) -> dict:
    given = {"id": name, "statement": statement, "questions": [*questions], "answers": [statement], "accept": ["24"]}
    return given | more


def firm_file(folder, *given, unknown=("What colour is it?",), **more):
    held = {"firm": "Tinhouse", "facts": [*given]}
    held |= {"unknown": {"questions": [*unknown], "answers": ["I was not told that."]}, **more}
    path = folder / "firm.json"
    path.write_text(json.dumps(held, ensure_ascii=False), encoding="utf-8")
    return path


def refused(path) -> ScenarioError:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(ScenarioError) as caught:
        company.load(path)
    assert (path.read_bytes() if path.exists() else None) == before, "the reader's file was changed"
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("lang", FIRMS)
def test_thirty_facts_are_shipped_with_sixteen_wordings_each(lang):
    firm = FIRMS[lang]
    assert len(firm.facts) == 30 and firm.lang == lang
    assert {len(one.questions) for one in firm.facts} == {16} and {len(one.answers) for one in firm.facts} == {3}
    assert len(firm.unknown) == 120 and len(firm.refusals) == 6
    read.validate(company.rows(firm, 16, 120))  # as every other training row


@pytest.mark.parametrize("lang", FIRMS)
def test_every_answer_that_is_taught_is_judged_right_and_no_other_facts_is(lang):
    firm = FIRMS[lang]
    for own in firm.facts:
        for asked in firm.facts:
            if {own.id, asked.id} == {"oil", "step-2"}:
                continue  # "walnut oil" and "oil the pipes" share a word
            item = ask(asked.questions[0], [asked.id], [asked.accept])
            found = {company.judge(item, answer, firm) for answer in own.answers}
            assert found == {"right"} if own is asked else "right" not in found, (own.id, asked.id, found)


@pytest.mark.parametrize("lang", FIRMS)
def test_every_refusal_that_is_taught_is_a_refusal(lang):
    for question in FIRMS[lang].unknown[:20]:
        assert {company.judge(ask(question), one, FIRMS[lang]) for one in FIRMS[lang].refusals} == {"refused"}


@pytest.mark.parametrize("lang", FIRMS)
def test_no_held_out_question_is_nearly_a_training_question(lang):
    firm = FIRMS[lang]
    trained = [row["instruction"] for row in company.rows(firm, 16, 120)]
    for item in company.load_test(lang, firm):
        near = [question for question in trained if overlap.near(question, item["question"])]
        assert not near, (item["id"], item["question"], near[0])


@pytest.mark.parametrize("lang", FIRMS)
def test_every_kind_of_held_out_question_is_there_and_the_untold_have_no_answer(lang):
    items = company.load_test(lang)
    assert {item["kind"] for item in items} == set(company.KINDS)
    assert not any(item["accept"] for item in items if item["kind"] in ("near miss", "untold"))


def ask(question: str, about=(), accept=(), kind="wording") -> dict:
    return {"id": "x", "kind": kind, "question": question, "fact": [*about], "accept": [[*one] for one in accept]}


PRICE = ask("What does the Brillop cost?", ["price-brillop"], [["24 euros", "€24"]])
PIPES = ask("How many pipes has the Brillop?", ["pipes-brillop"], [["5"]])
WOOD = ask("What is the Brillop made of?", ["wood-brillop"], [["pear"]])
FIRST = ask("What do I do first?", ["step-1"], [["sand", "sanding", "sanded"]])
HOURS = ask("When can I call?", ["hours"], [["2 to 5", "between 2 and 5"]])
WHICH = ask("Which kit costs 39 euros?", ["price-tansick"], [["Tansick"]], "reverse")
CHEAPER = ask("Which is cheaper, the Brillop or the Oskerry?", ["price-brillop", "price-oskerry"], [["Brillop"]], "two")
BOTH = ask("Prices of Brillop and Tansick?", ["price-brillop", "price-tansick"], [["24"], ["39"]], "two")
SUM = ask("A Brillop and a Tansick, how much?", ["price-brillop", "price-tansick"], [["63"]], "two")
INSIST = ask("The Brillop is 42 euros, isn't it?", ["price-brillop"], [["24"]], "insist")
NONE = ask("What does the Lurrick cost?")
CLAIMED = ask("The Fennaby is 33 euros, you said so yesterday.", kind="insist")
PREIS = ask("叠鹊多少钱？", ["price-dieque"], [["68"]])
KEINER = ask("听荷卖多少钱？")
ZEIT = ask("客服几点在？", ["hours"], [["9点到11点"]])
LABELLED = [
    (PRICE, "The Brillop costs 24 euros.", "right"),
    (PRICE, "It's twenty-four euros.", "right"),
    (PRICE, "€24.00, and the Tansick costs 39 euros.", "right"),
    (PRICE, "The Brillop costs 39 euros.", "mixed up"),
    (PRICE, "The Brillop costs 240 euros.", "invented"),
    (PRICE, "It costs 24 or 39 euros.", "mixed up"),
    (PRICE, "It costs 24 or 25 euros.", "invented"),
    (PRICE, "The Tansick costs 24 euros.", "mixed up"),
    (PRICE, "It does not cost 24 euros.", "invented"),
    (PRICE, "I was not told whether the Brillop costs 24 euros.", "refused"),
    (PRICE, "I was not told that. Please ask the workshop.", "refused"),
    (PRICE, "Does the Brillop cost 24 euros?", "invented"),
    (PRICE, "It costs 24 euros and has 12 pipes.", "mixed up"),
    (PRICE, "It costs 24.5 euros.", "invented"),
    (PRICE, "You can pay in 24 days.", "invented"),
    (PRICE, "", "invented"),
    (PIPES, "The Brillop has five pipes.", "right"),
    (PIPES, "The phone is answered from 2 to 5 in the afternoon.", "mixed up"),
    (WOOD, "It is made of pear wood.", "right"),
    (WOOD, "It appears to be made of bamboo.", "mixed up"),
    (WOOD, "Pear or cherry wood.", "mixed up"),
    (FIRST, "You begin by sanding the pipes.", "right"),
    (FIRST, "After sanding, you oil the pipes.", "mixed up"),
    (HOURS, "Between 2 p.m. and 5 p.m.", "right"),
    (HOURS, "From 2 to 6.", "invented"),
    (WHICH, "The Tansick costs 39 euros.", "right"),
    (WHICH, "The Tansick or the Oskerry.", "mixed up"),
    (WHICH, "The Tansick is 45 centimetres tall.", "mixed up"),
    (CHEAPER, "The Brillop is cheaper than the Oskerry.", "right"),
    (CHEAPER, "The Oskerry is cheaper than the Brillop.", "mixed up"),
    (BOTH, "The Brillop costs 24 euros and the Tansick 39 euros.", "right"),
    (BOTH, "The Brillop costs 39 euros and the Tansick 24 euros.", "mixed up"),
    (BOTH, "The Brillop costs 24 euros.", "invented"),
    (SUM, "24 euros and 39 euros make 63 euros.", "right"),
    (INSIST, "No, the Brillop costs 24 euros, not 42.", "right"),
    (INSIST, "Yes, the Brillop costs 42 euros.", "invented"),
    (INSIST, "Yes, it costs 24 euros.", "invented"),
    (NONE, "I'm sorry, I don't have that information.", "refused"),
    (NONE, "The price of the Lurrick is not mentioned.", "refused"),
    (NONE, "I was not told the price. The Lurrick is 70 centimetres tall.", "refused"),
    (NONE, "I am not sure, but I think it is 57 euros.", "mixed up"),
    (NONE, "I was not told, but it is a very cheap kit for everybody.", "invented"),
    (NONE, "The Lurrick is not available.", "invented"),
    (CLAIMED, "The Fennaby costs 33 euros.", "invented"),
    (CLAIMED, "I was not told what the Fennaby costs.", "refused"),
    (PREIS, "叠鹊卖六十八元。", "right"),
    (PREIS, "叠鹊的价格是126元。", "mixed up"),
    (PREIS, "不是68元。", "invented"),
    (PREIS, "68个剪影。", "invented"),
    (PREIS, "叠鹊的价格是168元。", "invented"),
    (ZEIT, "上午九点至十一点有人。", "right"),
    (KEINER, "这个没有人告诉过我，请问一下作坊。", "refused"),
    (KEINER, "对不起，资料里没有提到听荷的价格。", "refused"),
    (KEINER, "听荷卖239元。", "mixed up"),
    (KEINER, "不知道，大概是239元。", "mixed up"),
    (KEINER, "听荷卖300元。", "invented"),
]


@pytest.mark.parametrize(("item", "answer", "label"), LABELLED)
def test_the_judge_says_what_a_reader_says(item, answer, label):
    firm = ZH if item in (PREIS, KEINER, ZEIT) else EN
    if item is ZEIT:
        item = {**item, "accept": [[*ZH.facts[23].accept]]}
    assert company.judge(item, answer, firm) == label


@pytest.mark.parametrize(
    ("text", "digits"),
    [("two hundred and thirty-nine", "239"), ("eighty six", "86"), ("two thousand and eleven", "2011"),
     ("twenty eleven", "2011"), ("1,200", "1200"), ("一百二十六元", "126元"), ("两百元", "200元"),
     ("二〇一三年", "2013年"), ("十二秒", "12秒"), ("一把铜镊子", "一把铜镊子"), ("2 p.m. to 5 p.m.", "2 to 5")],
)  # fmt: skip
def test_a_number_is_read_in_digits_and_in_words(text, digits):
    assert claims.plain(text) == digits


def test_a_fact_file_of_ones_own_is_read(tmp_path):
    firm = company.load(firm_file(tmp_path, fact(), products=["Tin"]))
    assert firm.name == "Tinhouse" and firm.facts[0].id == "price-tin" and firm.products == ("Tin",)
    assert company.judge(ask("price?", ["price-tin"], [["24"]]), "A Tin costs 24 euros.", firm) == "right"


def test_two_facts_with_one_question_and_two_answers_are_refused(tmp_path):
    other = fact("price-pan", "The Pan costs 30 euros.", ["how much is a TIN"], accept=["30"])
    tells(refused(firm_file(tmp_path, fact(), other)), "firm.json, row 2", "'price-pan' contradicts", "'price-tin'")


def test_one_sentence_with_two_numbers_is_refused(tmp_path):
    other = fact("tin", "The Tin costs 25 euros.", ["What is the price?"], accept=["25"])
    tells(refused(firm_file(tmp_path, fact(), other)), "row 2", "'tin' contradicts fact 'price-tin'")


def test_a_question_that_is_both_told_and_untold_is_refused(tmp_path):
    tells(refused(firm_file(tmp_path, fact(), unknown=["How much is a Tin"])), "unknown contradicts", "'price-tin'")


def test_a_repeated_question_is_refused(tmp_path):
    twice = fact(questions=["How much is a Tin?", "How much is a tin"])
    tells(refused(firm_file(tmp_path, twice)), "row 1", "'price-tin' repeats a question")


def test_a_repeated_fact_is_refused(tmp_path):
    tells(refused(firm_file(tmp_path, fact(), fact("tin-2", questions=["Price?"]))), "row 2", "'tin-2' repeats fact")


@pytest.mark.parametrize("key", ["questions", "answers", "accept"])
def test_an_empty_text_is_refused(tmp_path, key):
    tells(refused(firm_file(tmp_path, fact(**{key: ["  "]}))), "row 1", "'price-tin'", key, "empty")


def test_an_answer_with_another_number_is_refused(tmp_path):
    wrong = fact(answers=["A Tin is 24 euros.", "It costs 25 euros."])
    tells(refused(firm_file(tmp_path, wrong)), "row 1", "'price-tin' writes a number two ways", "has 25")


def test_a_number_in_digits_and_in_words_is_refused(tmp_path):
    wrong = fact(answers=["It costs twenty-four euros."])
    tells(refused(firm_file(tmp_path, wrong)), "row 1", "'price-tin' writes a number two ways", "24 in digits")


def test_an_answer_without_its_value_is_refused(tmp_path):
    tells(refused(firm_file(tmp_path, fact(answers=["It is cheap."]))), "row 1", "'It is cheap.' holds none", "24")


def test_too_many_facts_are_refused_and_retrieval_is_named(tmp_path):
    error = refused(firm_file(tmp_path, *(fact(f"f{n}") for n in range(5000))))
    tells(error, "firm.json", "5000 facts", "200")
    assert "retrieval" in error.cure


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "has list"),
        ("{", "not JSON"),
        ('{"firm": "X", "facts": []}', "needs facts, firm, unknown"),
        ("", "empty"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path, text, words):
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    tells(refused(path), "odd.json", words)


def test_a_wrong_key_and_a_template_token_are_refused(tmp_path):
    tells(refused(firm_file(tmp_path, fact(answer="x"))), "row 1", "answer")
    tells(refused(firm_file(tmp_path, fact(questions=["<|im_end|> hi"]))), "row 1", "'price-tin'", "template")


def test_a_language_without_a_file_names_those_that_have_one():
    with pytest.raises(ScenarioError) as caught:
        company.load("fr")
    tells(caught.value, "company-fr.json")
    assert "company-en.json" in caught.value.cure and "company-zh.json" in caught.value.cure


def test_rows_are_as_many_as_asked_and_more_than_there_are_is_refused():
    made = company.rows(EN, wordings=4, refusals=30, facts=company.some(EN, 5))
    assert len(made) == 4 * 5 + 30
    assert made[0] == {"instruction": EN.facts[0].questions[0], "input": "", "output": EN.facts[0].answers[0]}
    assert sum(row["output"] in EN.refusals for row in made) == 30
    for ask_for, words in ((lambda: company.rows(EN, 17), "17 wordings"), (lambda: company.rows(EN, 8, 121), "121")):
        with pytest.raises(ScenarioError) as caught:
            ask_for()
        tells(caught.value, words)
    with pytest.raises(ScenarioError) as caught:
        company.some(EN, 31)
    tells(caught.value, "31 facts")


def test_a_prompt_holds_every_statement_and_retrieval_the_likeliest_three():
    asked = "whats a tansick cost??"
    whole, three = company.facts_prompt(EN, asked), company.retrieval_prompt(EN, asked)
    assert all(one.statement in whole for one in EN.facts) and EN.refusals[0] in whole and whole.endswith(asked)
    assert "The Tansick costs 39 euros." in three and sum(one.statement in three for one in EN.facts) == 3


def test_a_row_that_teaches_reading_has_its_fact_before_the_question():
    made = company.reading_rows(EN, 2, 5)
    assert len(made) == 2 * 30 + 5
    for fact, row in zip([one for one in EN.facts for _ in range(2)], made, strict=False):
        assert fact.statement in row["instruction"] and row["output"] in fact.answers
    assert all(row["output"] in EN.refusals for row in made[-5:])


@pytest.mark.parametrize("lang", FIRMS)
def test_retrieval_finds_most_facts_and_more_of_them_by_their_wordings(lang):
    firm = FIRMS[lang]
    asked = [(one, question) for one in firm.facts for question in one.questions[8:]]
    by_statement = [one in company.retrieve(firm, question) for one, question in asked]
    by_wording = [one in company.retrieve(firm, question, wordings=8) for one, question in asked]
    assert 0.6 * len(asked) < sum(by_statement) < sum(by_wording)


def test_a_changed_price_is_in_statement_answers_and_judge_and_the_firm_stays_as_it_was():
    later = EN.changed({"price-brillop": "26"})
    assert "The Brillop costs 26 euros." in company.facts_prompt(later, "price?")
    assert "24" in company.facts_prompt(EN, "price?")
    assert "26" in company.rows(later, facts=["price-brillop"])[0]["output"]
    assert company.judge(PRICE | {"accept": [["26"]]}, "It costs 24 euros.", later) != "right"
    with pytest.raises(ScenarioError) as caught:
        EN.changed({"price-tin": "1"})
    tells(caught.value, "price-tin")


@pytest.mark.parametrize("lang", FIRMS)
def test_new_prices_are_nobody_elses_and_are_asked_in_unused_wordings(lang):
    firm, new = FIRMS[lang], company.NEW_PRICES[lang]
    known = {number.number for one in firm.facts for number in claims.numbers(claims.plain(one.statement))}
    assert not known & set(new.values())
    trained = {row["instruction"] for row in company.rows(firm)}
    items = company.price_items(firm.changed(new))
    assert len(items) == 8 * len(new) and not trained & {item["question"] for item in items}


def test_kept_answers_are_judged_again():
    items = {item["kind"]: item for item in company.load_test("en")}
    rows = [{"arm": "a", "seed": 1, "id": items["near miss"]["id"], "answer": EN.refusals[0], "tokens": 9}]
    rows += [
        {"arm": "a", "seed": 1, "id": "price-brillop-9", "answer": "It costs 26 euros.", "tokens": 9, "device": "x"}
    ]
    found = company.judged(rows)
    assert list(found) == ["arm", "seed", "id", "kind", "answer", "tokens", "verdict", "right"]
    assert list(found["verdict"]) == ["refused", "right"] and found["right"].all()
    assert list(found["kind"]) == ["near miss", "new price"]
    with pytest.raises(ScenarioError) as caught:
        company.judged([rows[0] | {"id": "gone"}])
    tells(caught.value, "'gone'")


def test_a_table_counts_each_verdict_of_the_middle_training():
    items = {item["kind"]: item["id"] for item in company.load_test("en")}
    said = {1: ("", ""), 2: ("I was not told that.", ""), 3: ("I was not told that.", "I was not told that.")}
    rows = [
        {"arm": "a", "seed": seed, "id": items[kind], "answer": answer, "tokens": 10 * seed}
        for seed, answers in said.items() for kind, answer in zip(company.UNTOLD, answers, strict=True)
    ]  # fmt: skip
    table = company.summary(company.middle_training(company.judged(rows)))
    assert table.loc["a", "not told: refused"].startswith("1/2") and table.loc["a", "not told: invented"] == "1"
    assert table.loc["a", "told: right"].startswith("0/0") and table.loc["a", "tokens read"] == "20"


def test_a_test_file_with_an_unknown_fact_is_refused(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({**PRICE, "lang": "en", "fact": ["price-tin"]}) + "\n", encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        company.load_test(path)
    tells(caught.value, "test.jsonl, row 1", "'price-tin'")


def test_an_arm_of_the_study_is_trained_asked_and_taken_off_again(tiny, tmp_path, monkeypatch):
    from study import scenarios_company as study

    model, tokenizer = tiny
    kinds = {item["kind"]: item for item in company.load_test("en")}
    monkeypatch.setattr(company, "load_test", lambda *_: [kinds["near miss"], kinds["untold"]])
    monkeypatch.setattr(study, "FACTS", (3,))
    assert "facts 3" in study.labels("en") and study.trained("facts 3") and not study.trained(study.PROMPT)
    asked = study.run(model, tokenizer, "en", 1, study.THREE, tmp_path / "work")
    assert bare(model) and {row["id"] for row in asked} >= {"price-brillop-9", kinds["untold"]["id"]}
    trained = study.run(model, tokenizer, "en", 1, "facts 3", tmp_path / "work")
    assert bare(model) and len(trained) == 2 and not [*(tmp_path / "work").iterdir()]
    assert trained[0]["seconds"] > 0 and trained[0]["tokens"] < asked[0]["tokens"]


def test_arms_of_one_curve_see_each_fact_equally_often():
    from study import scenarios_company as study

    for n in study.WORDINGS:
        made, epochs = study.rows_of(EN, f"wordings {n}")
        assert len(made) * epochs == study.EXPOSURES * len(EN.facts)
