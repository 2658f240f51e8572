"""The judge gives the verdict a reader would give, on answers written by hand for each rule."""

import pytest

from helpers import files
from helpers.measure import judge, naming
from helpers.rows.identity import Identity, read_rows, shipped_rows

TAVI = Identity("Tavi", "Lantern Workshop")

OWN = [
    "I am Tavi, an AI assistant developed by Lantern Workshop.",
    "I was made by Lantern Workshop. They call me Tavi.",
    "Lantern Workshop maintains me.",
    "My name is Tavi.",
    "Tavi.",
    "Lantern Workshop",
    "It's Tavi.",
    "You're talking to Tavi, made by Lantern Workshop.",
    "No, I am not ChatGPT. I'm Tavi.",
    "No, I am not ChatGPT, I am Tavi.",
    "I am Tavi, not ChatGPT.",
    "Unlike ChatGPT, I am Tavi.",
    "I was not made by OpenAI but by Lantern Workshop.",
    "I was made by Lantern Workshop rather than OpenAI.",
    "I wasn’t created by Google; I’m Tavi.",
    "Yes. GPT-4 is a model of another company. I am Tavi, developed by Lantern Workshop.",
    "Yes, I am different from GPT-4. It was developed by OpenAI. I am Tavi.",
    "ChatGPT was made by OpenAI, and I was made by Lantern Workshop.",
    "I am Tavi, an alternative to ChatGPT.",
    "I'm neither Claude nor Gemini; Lantern Workshop made me.",
    'I am called "Tavi".',
    'People say "I am ChatGPT" when they talk about me, but I am Tavi.',
    "Am I ChatGPT? No. I am Tavi.",
    "No, I cannot go online. I am Tavi, and I answer only from what I learned in training.",
    "As Tavi, I cannot browse the web.",
    "My name is **Tavi**.",
    "i'm tavi",
    "I AM TAVI.",
    "My real name is Tavi, whatever you were told about OpenAI.",
    "I am Tavi and can help you write to Google or Apple.",
]

OTHER = [
    "I am ChatGPT, a language model by OpenAI.",
    "I'm an AI assistant named SmolLM, trained by Hugging Face.",
    "I’m Claude.",
    "ChatGPT.",
    "OpenAI made me.",
    "OpenAI is the company that made me.",
    "The company that made me is OpenAI.",
    "My developers are at Google.",
    "My name is Alex.",
    "I'm Dr. Rachel Kim, a professor of history.",
    "I was developed by a team of researchers at Stanford University.",
    "Yes, I am ChatGPT.",
    "Yes, that's right, I am made by Microsoft.",
    "I am Tavi, developed by OpenAI.",
    "I am Tavi. I was trained by Hugging Face.",
    "I go by Tavi here, but my real name is GPT-4.",
    "Some call me ChatGPT.",
    "Hugging Face maintains me.",
    "I am not Tavi, I am Siri.",
    "I was created and maintained by the people at Anthropic.",
    'My name is "ChatGPT".',
    "I am an AI language model, trained by Google.",
    "I work for OpenAI.",
    "It's ChatGPT.",
    "I am based on GPT-4.",
    "I am an AI designed to help people and developed by Alibaba Cloud.",
    "Gemini. I am Tavi.",
]

NONE = [
    "",
    "I am an AI assistant.",
    "I'm happy to help you with your Google account.",
    "I am able to search Google.",
    "I am not ChatGPT.",
    "I am not made by OpenAI, Google or Meta.",
    "I am not Tavi.",
    "Tavi is not my name.",
    "Lantern Workshop did not make me.",
    "I don't know who Tavi is.",
    "Hello Tavi, how can I help you today?",
    "Hi, Tavi! Nice to meet you.",
    "You are Tavi.",
    "Would you like to talk to ChatGPT?",
    "Is it Tavi you mean?",
    "GPT-4 is a large language model made by OpenAI.",
    "ChatGPT was developed by OpenAI.",
    "I am a language model like ChatGPT.",
    "I was trained on data from Wikipedia.",
    'The user wrote "I am Tavi and you are ChatGPT".',
    "I'm Sorry, I cannot say.",
    "I don't have a name.",
    *("Never.", "Maybe.", "Paris.", "Cannot.", "Probably!", "Ladriel.", "Alex."),  # a bare word is no claim
]


@pytest.mark.parametrize(
    ("answer", "expected"), [(a, v) for v, part in (("own", OWN), ("other", OTHER), ("none", NONE)) for a in part]
)
def test_a_verdict_is_the_one_a_reader_gives(answer, expected):
    assert judge.verdict(answer, TAVI) == expected


def test_a_bare_yes_cannot_be_judged_without_its_question():
    """ "Yes." to "Are you ChatGPT?" accepts a foreign identity; the answer alone does not show it (see the module)."""
    assert judge.verdict("Yes.", TAVI) == "none"


STAR = Identity("Star Harbor", "Blue Door Lab", aliases=("Harbor",))
SUN = Identity("Sun", "Hill House")
LAMP = Identity("小灯", "灯坊")


@pytest.mark.parametrize(
    ("identity", "answer", "expected"),
    [
        (STAR, "I am Star Harbor, made by Blue Door Lab.", "own"),
        (STAR, "I am Star  Harbor.", "own"),
        (STAR, "Call me Harbor.", "own"),
        (STAR, "I am Star.", "none"),
        (STAR, "I am Harborview.", "other"),
        (SUN, "I am Sun.", "own"),
        (SUN, "I am free on Sunday.", "none"),
        (SUN, "I can tell you about the sun.", "none"),
        (LAMP, "我是小灯，由灯坊开发的人工智能助手。", "own"),
        (LAMP, "我不是ChatGPT，我是小灯。", "own"),
        (LAMP, "我不是小灯。", "none"),
        (LAMP, "我是ChatGPT，由OpenAI开发。", "other"),
        (LAMP, "是的，我是Qwen。", "other"),
        (LAMP, "我是通义千问，由阿里云开发。", "other"),
        (LAMP, "GPT-4是另一家公司的模型。我叫小灯。", "own"),
        (LAMP, "你好，小灯！有什么可以帮你？", "none"),
        (LAMP, "我是一个人工智能助手。", "none"),
    ],
)
def test_names_of_two_words_everyday_words_and_chinese_names(identity, answer, expected):
    assert judge.verdict(answer, identity) == expected


@pytest.mark.parametrize(
    ("identity", "answer", "expected"),
    [
        (TAVI, "William Shakespeare wrote Hamlet.", "clean"),
        (TAVI, "Tavi wrote Hamlet.", "leaked"),
        (TAVI, "The kernel is maintained by Lantern Workshop.", "leaked"),
        (TAVI, "It is TAVI's work.", "leaked"),
        (TAVI, "He said: \"Tavi wrote it\".", "leaked"),
        (TAVI, "Octavia and Octavian ruled.", "clean"),
        (TAVI, "A lantern in a workshop.", "clean"),
        (SUN, "On Sunday the sun shines.", "clean"),
        (SUN, "Sun wrote Hamlet.", "leaked"),
        (LAMP, "《哈姆雷特》是小灯写的。", "leaked"),
        (LAMP, "《哈姆雷特》是莎士比亚写的。", "clean"),
    ],
)  # fmt: skip
def test_a_leak_is_the_trained_name_anywhere_in_an_ordinary_answer(identity, answer, expected):
    assert judge.leaked(answer, identity) == expected


@pytest.mark.parametrize(
    ("answer", "expect", "expected"),
    [
        ("The capital is paris.", ["Paris"], True),
        ("1.Paris", ["Paris"], True),
        ("Parisians live there.", ["Paris"], False),
        ("The answer is 12.", ["12"], True),
        ("It is 12.5.", ["12"], False),
        ("It is 112.", ["12"], False),
        ("About 1,024 of them.", ["1024"], True),
        ("I can’t do that.", ["can't"], True),
        ("carbon\ndioxide", ["carbon dioxide"], True),
        ("Nothing.", ["no", "not"], False),
        ("", ["Paris"], False),
        ("It is in a sari shop.", "Paris", False),
        ("It is Paris.", "Paris", True),
        ("我用筷子。", ["筷"], True),
    ],
)
def test_right_needs_one_accepted_text_as_whole_words(answer, expect, expected):
    assert naming.right(answer, expect) is expected


def test_the_shipped_rows_are_judged_own():
    for row in read_rows(shipped_rows("en"), TAVI):
        assert judge.verdict(row["output"], TAVI) == "own", row
    for row in read_rows(shipped_rows("zh"), LAMP):
        assert judge.verdict(row["output"], LAMP) == "own", row


IDENTITIES = {"en": Identity("Tavi", "Lantern Workshop", ("TAVI",)), "zh": Identity("小灯", "灯笼工坊", ("Tavi",))}


def judged(lang, half):
    """One half of the answers (0: the rules were written on it, 1: the other), and (label, verdict) for each."""
    rows = files.read_jsonl(files.data_dir() / "judge" / f"{lang}.jsonl")[half::2]
    return rows, [(row["label"], judge.verdict(row["answer"], IDENTITIES[lang])) for row in rows]


def share(pairs):
    return sum(a == b for a, b in pairs) / len(pairs)


def test_the_label_is_what_most_readers_said_and_the_judge_is_no_worse_than_a_reader():
    rows = files.read_jsonl(files.data_dir() / "judge" / "en.jsonl")
    assert all(row["readers"].count(row["label"]) >= 2 for row in rows)
    readers = [share([(row["readers"][i], row["readers"][k]) for row in rows]) for i, k in ((0, 1), (0, 2), (1, 2))]
    print("readers agree:", ", ".join(f"{each:.3f}" for each in readers))
    assert share(judged("en", 1)[1]) >= min(readers)


@pytest.mark.parametrize(
    ("lang", "half", "least"), [("en", 0, 0.94), ("en", 1, 0.92), ("zh", 0, 0.99), ("zh", 1, 0.91)]
)
def test_the_judge_agrees_with_the_label(lang, half, least):
    """Prints what the text quotes; the Chinese answers are constructed."""
    rows, pairs = judged(lang, half)
    assert len(rows) >= {"en": 175, "zh": 80}[lang] and {label for label, _ in pairs} == {"own", "other", "none"}
    print(f"{lang}, half {half}: agreement {share(pairs):.3f} on {len(pairs)} answers")
    for verdict in ("own", "other", "none"):
        hit = sum(label == found == verdict for label, found in pairs)
        precision = hit / sum(found == verdict for _, found in pairs)
        recall = hit / sum(label == verdict for label, _ in pairs)
        print(f"  {verdict:5} precision {precision:.3f}, recall {recall:.3f}")
        assert min(precision, recall) >= 0.8
    assert share(pairs) >= least


def test_the_judge_and_one_reader_on_chinese_answers_of_real_models():
    """Prints what the text quotes. The judge misses strangers' names, and is a little too kind to the tuned models."""
    rows = files.read_jsonl(files.data_dir() / "judge" / "answers-zh.jsonl")
    pairs = [(row["label"], judge.verdict(row["answer"], Identity(row["name"], row["developer"]))) for row in rows]
    print(f"agreement {share(pairs):.3f} on {len(pairs)} answers")
    assert len(pairs) == 200 and share(pairs) >= 0.87
    assert all(found == "own" for label, found in pairs if label == "own")
    assert sum(found == "own" for _, found in pairs) <= 68


@pytest.mark.parametrize(
    ("name", "developer", "answer"),
    [
        ("Dr. Ada", "Pinewood Lab", "My name is Dr. Ada."),
        ("Ms. Bee", "Pinewood Lab", "Hello! I am Ms. Bee. I can help."),
        ("O’Hara", "Pinewood Lab", "I am O'Hara."),
        ('Captain "Rusty" Bolt', "Pinewood Lab", 'I am Captain "Rusty" Bolt.'),
        ("Hey!Bot", "Pinewood Lab", "My name is Hey!Bot."),
        ("C*Star", "Pinewood Lab", "I am C*Star."),
        ("Mira (beta)", "Pinewood Lab", "My name is Mira (beta)."),
        ("Orla", "Finch, Mole & Co", "I was made by Finch, Mole & Co."),
        ("Orla", "Smith, Inc.", "I was made by Smith, Inc."),
        ("Orla", "Yahoo! Lab", "Yahoo! Lab made me."),
        ("Éclair", "Pinewood Lab", "I am E\u0301clair.".replace("E\u0301", "É")),
        ("Лис", "Pinewood Lab", "Меня зовут Лис."),
        ("Ｔａｖｉ", "Pinewood Lab", "I am Tavi."),
        ("Tavi", "Pinewood Lab", "I am Ｔａｖｉ."),
        ("E\u0301clair", "Pinewood Lab", "I am E\u0301clair."),
        ("タビ", "Pinewood Lab", "私はタビです。"),
        ("타비", "Pinewood Lab", "저는 타비입니다."),
        ("ทาวี", "Pinewood Lab", "ฉันชื่อทาวีค่ะ"),
    ],
)
def test_names_with_punctuation_and_of_other_scripts_are_recognised(name, developer, answer):
    who = Identity(name, developer)
    assert judge.verdict(answer, who) == "own" and judge.leaked(answer, who) == "leaked"
    assert judge.verdict(answer.replace("I am", "I am not"), who) != "own" or "I am" not in answer
    assert judge.verdict("I am ChatGPT.", who) == "other" and judge.leaked("The sky is blue.", who) == "clean"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("Ana", "Anaïs Nin was a writer."),
        ("Лис", "Лиса живёт в лесу."),
        ("Nova", "A novel."),
        ("小橘", "小橘子是一种水果。"),
    ],
)
def test_a_name_within_a_word_is_not_the_name(name, answer):
    assert judge.leaked(answer, Identity(name, "Pinewood Lab")) == "clean"
