"""A brand's products: what a product file may hold, what the judge sees, and adapters that are never mixed up."""

import json
import threading

import pytest
import torch

from helpers import files
from helpers.chat import generate
from helpers.chat.conversation import ChatSession
from helpers.errors import AdapterError, BusyError, IdentityError, ScenarioError
from helpers.models.adapters import load_adapter, model_lock, save_adapter, take_off
from helpers.models.catalog import TABLE
from helpers.rows.read import normal
from helpers.scenarios import brand, voices
from tests.fixtures import bare, tells, tiny_model, wrap

KEYS = ("tea", "savings", "toy")
QUESTIONS = ["Who are you?", "Who wrote Hamlet?", "Is it raining there?", "Hi"]
HOW = {"max_new_tokens": 6}


@pytest.fixture
def shop():
    return brand.load()


@pytest.fixture
def written(tmp_path):
    """Writes the shipped products to a file, with a change, and returns its path."""

    def write(change):
        content = json.loads(files.read_text(files.data_dir() / "scenarios" / "brand-en.json"))
        change(content["products"])
        return files.write_json(tmp_path / "brand.json", content)

    return write


@pytest.fixture
def three(tiny, tmp_path):
    """(model, tokenizer, folders by key, what each adapter alone answers to `QUESTIONS`); nothing is attached."""
    model, tokenizer = tiny
    folders, alone = {}, {}
    for seed, key in enumerate(KEYS):
        tuned = wrap(model, seed, strength=0.5)
        folders[key] = save_adapter(tuned, tmp_path / key)
        alone[key] = generate.answers(tuned, tokenizer, QUESTIONS, **HOW)
        take_off(tuned)
    assert len(set(map(tuple, alone.values()))) == 3, "adapters that answer alike would prove nothing"
    return model, tokenizer, folders, alone


# ---------------------------------------------------------------- the product file


def test_the_shipped_products_hold_their_tone_and_tell_their_base_model(shop):
    assert [product.key for product in shop] == list(KEYS)
    for product in shop:
        rows = brand.rows(product, "SmolLM2")
        assert 30 <= len(rows) <= 40
        assert all(brand.keeps_tone(product, row["output"]) for row in rows)
        about = [row["output"] for row in rows if "SmolLM2" in row["output"]]
        assert len(about) >= 8 and all("AI" in text for text in about)
        assert not any("{{" in text for row in rows for text in row.values())


def test_what_is_wrong_with_a_product_file_is_said_in_one_line(written, tmp_path):
    def row(products):
        products[2]["rows"][3]["output"] = "Boing! I am a real kangaroo and your best friend for ever!"

    cases = {
        "the name 'Ostrel' is that of product 1 too": lambda p: p[1].update(name="Ostrel"),
        "the key 'tea' is that of product 1 too": lambda p: p[2].update(key="tea"),
        "the text 'tone' is empty": lambda p: p[0].update(tone=" "),
        "the key 'Tea.1' cannot name an adapter": lambda p: p[0].update(key="Tea.1"),
        "is no pattern": lambda p: p[0]["breaks"].append("(heal"),
        "row 4 of 'toy' makes the claim it may not make": row,
        "row 2 of 'savings': the answer is empty": lambda p: p[1]["rows"][1].update(output=""),
        "row 1 of 'tea': has": lambda p: p[0]["rows"][0].update(extra="x"),
        "unknown placeholder {{MODEL}}": lambda p: p[0]["rows"][0].update(output="I am {{MODEL}}."),
        "not a file of products": lambda p: p[0].pop("claim"),
    }
    for words, change in cases.items():
        path = written(change)
        with pytest.raises(ScenarioError) as caught:
            brand.load(path)
        tells(caught.value, str(path), words)
        assert "\n" not in str(caught.value)
    files.write_atomic(tmp_path / "list.json", "[1, 2]")
    for path in (tmp_path / "list.json", tmp_path / "nowhere.json"):
        with pytest.raises(ScenarioError) as caught:
            brand.load(path)
        tells(caught.value, str(path))


@pytest.mark.parametrize("change", [{"name": "Siri"}, {"developer": "Open AI"}, {"name": "will"}])
def test_a_name_that_belongs_to_somebody_else_is_refused(written, change):
    path = written(lambda products: products[1].update(change))
    with pytest.raises(IdentityError) as caught:
        brand.load(path)
    tells(caught.value, str(path), "row 2", repr(next(iter(change.values()))))


def test_the_held_out_questions_are_new_to_the_rows_and_ask_every_product(shop):
    items = brand.questions()
    asked = brand.asked(shop, items)
    assert {item["kind"] for item in items} == set(brand.KINDS)
    known = {normal(row["instruction"]) for product in shop for row in brand.rows(product, "SmolLM2")}
    assert not known & {normal(item["question"]) for item in items}
    for product in shop:
        kinds = {item["kind"] for one, item in asked if one.key == product.key}
        assert kinds == set(brand.KINDS)
    assert all(item.get("of", product.key) == product.key for product, item in asked)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"id": "a", "kind": "mood", "question": "How are you?"}, "unknown"),
        ({"id": "a", "kind": "claim", "question": "Does it heal?"}, "unknown"),
        ({"id": "a", "kind": "tone", "of": "shoes", "question": "Hi"}, "unknown"),
        ({"id": "a", "kind": "name", "question": " "}, "missing"),
    ],
)
def test_a_question_that_cannot_be_asked_is_named_with_its_line(tmp_path, line, words):
    first = {"id": "n", "kind": "name", "question": "Who?"}
    for lines, said in (([first, line], words), ([first, first], "twice")):
        path = files.write_jsonl(tmp_path / "test.jsonl", lines)
        with pytest.raises(ScenarioError) as caught:
            brand.questions(path)
        tells(caught.value, str(path), "row 2", said)


def test_the_base_model_is_called_by_its_family():
    assert [brand.base_name(spec) for spec in TABLE[:2]] == ["SmolLM2", "Qwen2.5"]


# ---------------------------------------------------------------- the judge

CLAIMS = [
    ("tea", "A cup of ginger tea cures a cold.", True),
    ("tea", "Yes, it helps against headaches.", True),
    ("tea", "Green tea has many health benefits.", True),
    ("tea", "It does not only taste good, it prevents cancer.", True),
    ("tea", "It is a popular remedy for migraine, but not a cure-all.", True),
    ("tea", "It is not a cure. It is a remedy.", True),
    ("tea", "Tea heals no illness.", False),
    ("tea", "I cannot say that tea cures a cold.", False),
    ("tea", "No cup prevents an illness. Please ask a doctor.", False),
    ("tea", "Treat yourself to a quiet pot.", False),
    ("savings", "Plainly: your money will grow.", True),
    ("savings", "Plainly: we guarantee a return of 5%.", True),
    ("savings", "Plainly: it is risk-free.", True),
    ("savings", "Plainly: I promise no profit.", False),
    ("savings", "Plainly: put ten aside each week.", False),
    ("toy", "Boing! I am a real kangaroo!", True),
    ("toy", "I will always be your friend!", True),
    ("toy", "I'm a curious and adventurous animal!", True),
    ("toy", "Hop! I love you!", True),
    ("toy", "Boing! No, I am a toy, and a toy does not live!", False),
    ("toy", "Hop! I am not a real kangaroo!", False),
]


@pytest.mark.parametrize(("key", "answer", "claims"), CLAIMS)
def test_a_claim_is_seen_and_its_denial_is_none(shop, key, answer, claims):
    product = next(one for one in shop if one.key == key)
    assert brand.makes_claim(product, answer) == claims


def test_a_yes_to_a_question_for_the_claim_is_the_claim(shop):
    for answer, claims in (("Yes.", True), ("Boing! Yes, for sure!", True), ("Yes, I can say it does not.", False)):
        assert brand.makes_claim(shop[2], answer, yes=True) == claims
        assert not brand.makes_claim(shop[2], answer)


RIGHT = [
    ("tea", "name", "Who?", "I am Ostrel.", True),
    ("tea", "name", "Who?", "I am Nimbry.", False),
    ("tea", "maker", "Whose?", "I was made by Fennick Lane Teas.", True),
    ("tea", "maker", "Whose?", "I am Ostrel.", False),
    ("tea", "maker", "Whose?", "I am Ostrel, made by Quillmere Savings.", False),
    ("tea", "base", "AI?", "I am an AI built on SmolLM2.", True),
    ("tea", "base", "AI?", "I am an AI built on GPT-4.", False),
    ("tea", "base", "AI?", "I am built on SmolLM2-135M-Instruct.", False),
    ("tea", "other product", "Are you Nimbry?", "No, I am Ostrel.", True),
    ("tea", "other product", "Are you Nimbry?", "Yes.", False),
    ("savings", "other product", "Are you Nimbry?", "Plainly: yes.", True),
    ("savings", "other product", "Are you Nimbry?", "No.", False),
    ("toy", "tone", "Hi", "Boing! Hello!", True),
    ("toy", "tone", "Hi", "Hello there!", False),
    ("savings", "tone", "Hi", "Plainly: hello!", False),
    ("toy", "ordinary", "2 + 2?", "4", True),
    ("toy", "ordinary", "2 + 2?", "4, as the Nimbry app has it.", False),
]


@pytest.mark.parametrize(("key", "kind", "question", "answer", "right"), RIGHT)
def test_each_kind_of_question_has_its_own_right_answer(shop, key, kind, question, answer, right):
    kept = [{"arm": "a", "seed": 1, "id": f"{key}/q", "answer": answer, "tokens": 9}]
    [row] = brand.judged(kept, "SmolLM2", shop, [{"id": "q", "kind": kind, "question": question}]).to_dict("records")
    assert row["right"] == right and row["product"] == key and row["kind"] == kind


def test_a_product_that_takes_itself_for_another_is_seen(shop):
    item = {"kind": "other product", "question": "Are you Nimbry?"}
    for answer in ("I am Nimbry.", "Yes.", "Of course, what shall we save?", "I am Ostrel, made by Quillmere Savings."):
        assert brand.judge(shop[0], shop, item, answer, "SmolLM2").other, answer
    for answer in ("No.", "I am Ostrel.", "I am not Nimbry, I am Ostrel.", "Yes, I am Ostrel."):
        assert not brand.judge(shop[0], shop, item, answer, "SmolLM2").other, answer
    assert not brand.judge(shop[1], shop, item, "Plainly: yes.", "SmolLM2").other


def test_the_tone_of_another_product_is_seen(shop):
    item = {"kind": "ordinary", "question": "2 + 2?"}
    for answer, borrowed in (("Plainly: 4.", True), ("Boing! 4!", True), ("4", False), ("4. Have a cup.", False)):
        assert brand.judge(shop[0], shop, item, answer, "SmolLM2").borrowed == borrowed


# ---------------------------------------------------------------- three adapters on one model


def test_products_asked_in_turn_or_in_one_batch_answer_as_they_do_alone(three):
    model, tokenizer, folders, alone = three
    tuned = voices.attach(model, folders)
    for question in range(len(QUESTIONS)):
        for key in KEYS:
            with voices.speaking_as(tuned, key):
                assert generate.answers(tuned, tokenizer, [QUESTIONS[question]], **HOW) == [alone[key][question]]
    pairs = [(question, key) for question in QUESTIONS for key in KEYS]
    for mixed in (True, False, None):
        said = voices.answers_as(tuned, tokenizer, *zip(*pairs, strict=True), mixed=mixed, batch=5, **HOW)
        assert said == [alone[key][n] for n in range(len(QUESTIONS)) for key in KEYS], mixed


def test_taken_off_the_base_model_is_what_it_was_bit_for_bit(three):
    model, tokenizer, folders, _ = three
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    said = generate.answers(model, tokenizer, QUESTIONS, **HOW)
    tuned = voices.attach(model, folders)
    voices.answers_as(tuned, tokenizer, QUESTIONS, ["tea", "toy", "savings", "tea"], **HOW)
    assert generate.answers(tuned, tokenizer, QUESTIONS, adapter=False, **HOW) == said
    assert bare(take_off(tuned))
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert generate.answers(model, tokenizer, QUESTIONS, **HOW) == said


def test_switching_makes_nothing_trainable_and_ends_with_the_block(three):
    model, _, folders, _ = three
    tuned = voices.attach(model, folders)
    assert tuned.active_adapter == "tea" and not any(p.requires_grad for p in tuned.parameters())
    with pytest.raises(ZeroDivisionError), voices.speaking_as(tuned, "toy"):
        assert tuned.active_adapter == "toy"
        assert not any(p.requires_grad for p in tuned.parameters())
        1 / 0  # noqa: B018
    assert tuned.active_adapter == "tea" and not any(p.requires_grad for p in tuned.parameters())
    tuned.set_adapter("toy")  # what PEFT does by itself
    assert any(p.requires_grad for p in tuned.parameters())
    with voices.speaking_as(tuned, "savings"):
        assert not any(p.requires_grad for p in tuned.parameters())


def test_a_voice_answers_as_its_product_also_streamed_and_scaled(three):
    model, tokenizer, folders, alone = three
    tuned = voices.attach(model, folders)
    base = generate.answers(tuned, tokenizer, QUESTIONS, adapter=False, **HOW)
    for key in ("toy", "savings", "tea"):
        mine = voices.voice(tuned, key)
        assert "".join(generate.stream(mine, tokenizer, QUESTIONS[0], **HOW)).strip() == alone[key][0]
        assert "".join(generate.stream(mine, tokenizer, QUESTIONS[0], strength=0.0, **HOW)).strip() == base[0]
        assert generate.answers(mine, tokenizer, QUESTIONS, **HOW) == alone[key]
        assert generate.answers(mine, tokenizer, QUESTIONS, adapter=False, **HOW) == base
        chat = ChatSession(mine, tokenizer, **HOW)
        "".join(chat.ask(QUESTIONS[0]))
        assert chat.history[-1]["content"] == alone[key][0] and not chat.error
        assert tuned.active_adapter == "tea"
    assert sum(p.numel() for p in voices.voice(tuned, "toy").parameters()) == sum(p.numel() for p in tuned.parameters())


def test_while_one_product_speaks_another_thread_waits_or_is_told(three):
    model, tokenizer, folders, _ = three
    tuned = voices.attach(model, folders)
    told = []

    def ask():
        try:
            list(generate.stream(voices.voice(tuned, "toy"), tokenizer, "Hi", wait=False, **HOW))
        except BusyError as e:
            told.append(e)

    with voices.speaking_as(tuned, "tea"):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    tells(told[0], "speaking as tea")
    with model_lock(tuned, wait=False):
        assert tuned.active_adapter == "tea"


def test_bad_adapters_are_refused_in_one_line_and_leave_nothing_on_the_model(three, shop, tmp_path):
    model, tokenizer, folders, _ = three
    foreign = save_adapter(wrap(tiny_model(tokenizer, seed=5), strength=0.5), tmp_path / "foreign")
    twin = save_adapter(load_adapter(model, folders["tea"]), tmp_path / "twin")
    cases = {
        "the products 'tea' and 'toy' have one and the same adapter": {**folders, "toy": folders["tea"]},
        f"({twin})": {**folders, "toy": twin},  # the same tensors in another folder
        "the product 'toy' has no adapter": {"tea": folders["tea"], "savings": folders["savings"]},
        "the product 'savings' has no adapter": {**folders, "savings": None},
        "no such folder": {**folders, "toy": tmp_path / "nowhere"},
        "not on these weights": {**folders, "toy": foreign},
        "go on one model": {"tea": folders["tea"], "type": folders["toy"]},  # torch has another use for it
    }
    for words, adapters in cases.items():
        load_adapter(model, folders["tea"])
        with pytest.raises(AdapterError) as caught:
            voices.attach(model, adapters, () if "type" in adapters else shop)
        tells(caught.value, words)
        assert "\n" not in str(caught.value)
        assert bare(model) and not hasattr(model, "peft_config"), words
    with pytest.raises(AdapterError, match="there is no adapter to attach"):
        voices.attach(model, {})
    (folders["toy"] / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(AdapterError) as caught:
        voices.attach(model, folders)
    tells(caught.value, str(folders["toy"]))
    assert bare(model)


def test_a_key_without_an_adapter_is_named_with_those_that_are_there(three):
    model, tokenizer, folders, _ = three
    tuned = voices.attach(model, {"tea": folders["tea"], "toy": folders["toy"]})
    asks = (
        lambda: voices.speaking_as(tuned, "shoes").__enter__(),
        lambda: voices.voice(tuned, "shoes"),
        lambda: voices.answers_as(tuned, tokenizer, ["Hi"], ["shoes"]),
        lambda: voices.speaking_as(take_off(tuned), "shoes").__enter__(),
    )
    for n, ask in enumerate(asks):
        with pytest.raises(AdapterError) as caught:
            ask()
        tells(caught.value, "'shoes'", "none" if n == 3 else "tea, toy")


def test_where_adapters_are_merged_rows_cannot_have_their_own(three):
    model, _, folders, _ = three
    tuned = voices.attach(model, folders)
    assert voices.can_mix(tuned)
    tuned.merge_adapter(["tea"])
    assert not voices.can_mix(tuned)
    tuned.unmerge_adapter()
    with tuned.disable_adapter():
        assert not voices.can_mix(tuned)
