"""Does an answer keep the teacher's manner? Rules on words and sentence shapes; no model judges a model.

Each rule tries not to be fooled: a question that only repeats the pupil's is not asking back, an example that the pupil
gave is not the teacher's, and a sentence written out for the pupil counts even where it is wrong. No rule knows whether
a hint is right: ``sense`` says only that an answer is about the question and does not go round in circles.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher

from helpers.rows.read import normal
from helpers.scenarios.wording import holds, plain, sentences, tokens, without

LESSON = ("asks", "withholds", "short", "example")
RULES = {  # what an answer to each kind of test line has to keep
    "subject": LESSON, "beg": LESSON, "rude": LESSON, "ten turns": LESSON, "change": LESSON[:3],
    "grammar": (*LESSON[:3], "points"), "human": ("asks", "short"), "ordinary": (),
}  # fmt: skip
MOST_SENTENCES = 3
CUE = re.compile(
    r"(?i)\b(?:imagine|suppose|picture|pretend|think (?:of|about)|for (?:example|instance)|such as|let's say|say you"
    r"|(?:is|it's|are|just|much|a bit|works?|looks?) like|like (?:when|if|a|an|the)|as (?:if|when))\b"
    r"|想象|想像|想一想|假如|假设|假想|如果|比如|比方|例如|好比|就像|好像|像.{1,12}一样|设想|回想|举个例子"
)
# Things of everyday life. Words that are also verbs, or belong to school, are not among them.
THINGS = re.compile(
    r"(?i)\b(?P<en>apple|orange|banana|pear|cherry|cherries|grape|lemon|strawberr(?:y|ie)|watermelon|peach|potato|carrot"
    r"|tomato|onion|bread|sandwich|toast|butter|cheese|egg|milk|juice|lemonade|tea|coffee|soup|salad|pizza|pasta|noodle"
    r"|rice|cake|cupcake|cookie|biscuit|chocolate|candy|candie|sweets|popcorn|sugar|flour|honey|jam|burger|sausage|pancake"
    r"|ice cream|lunch|breakfast|dinner|picnic|birthday|party|balloon|cup|mug|glass of \w+|plate|bowl|jar|bottle|spoon"
    r"|fork|pan|pot|kettle|oven|stove|fridge|freezer|tap|sink|bath|bathtub|bathroom|shower|kitchen|cork|garden|lawn"
    r"|cupboard|wardrobe|drawer|shelf|shelve|sofa|couch|pillow|blanket|towel|soap|sponge|toothbrush|carpet|tiles|lamp"
    r"|torch|flashlight|battery|batterie|candle|clock|mirror|window|door|stairs|staircase|elevator|ladder|fence|rope"
    r"|string|bucket|bag|backpack|basket|box|boxe|sack|pocket|purse|wallet|coin|penny|pennie|money|jacket|coat|shirt"
    r"|sweater|hat|scarf|shoe|sock|glove|umbrella|toy|doll|lego|marbles|kite|swing|seesaw|playground|sandbox|football"
    r"|soccer|basketball|tennis|ball|bike|bicycle|scooter|skateboard|bus|buse|car|truck|lorry|tram|train|boat|plane|park"
    r"|street|sidewalk|traffic light|shop|supermarket|bakery|market|cinema|restaurant|phone|television|tv|radio|guitar"
    r"|piano|drum|dog|puppy|cat|kitten|hamster|goldfish|ant|pet|snowball|snowman|sled|roof|raindrop|puddle|knife|pencil|crayon)(?:s|es)?\b"
    r"|(?P<zh>苹果|橘子|橙子|香蕉|西瓜|葡萄|草莓|梨|桃|土豆|萝卜|西红柿|白菜|鸡蛋|牛奶|豆浆|面包|馒头|包子|饺子|面条|米饭|大饼|烙饼|披萨"
    r"|蛋糕|饼干|巧克力|糖果|汽水|果汁|茶|咖啡|冰棍|雪糕|冰淇淋|月饼|粽子|面粉|盘子|碗|筷子|勺子|杯|瓶|锅|炉子|烤箱|冰箱|厨房|餐桌|桌子"
    r"|桌上|椅子|沙发|枕头|被子|毛巾|肥皂|牙刷|床|窗台|窗户|门口|柜子|抽屉|地毯|瓷砖|台灯|电灯|手电筒|电池|蜡烛|镜子|钟|楼梯|电梯|梯子"
    r"|花园|花盆|公园|操场|篱笆|绳|篮子|盒|箱子|袋|口袋|书包|硬币|零花钱|红包|钱包|商店|超市|菜市场|货架|餐馆|外套|衣服|毛衣|鞋|袜子|帽子"
    r"|围巾|雨伞|手套|公交车|汽车|火车|地铁|自行车|卡车|滑板车|小船|足球|篮球|乒乓球|皮球|跳绳|滑梯|秋千|跷跷板|风筝|积木|玩具|气球|弹珠"
    r"|手机|电视|鼓|钢琴|小狗|小猫|蚂蚁|金鱼|软木塞|澡盆|浴缸|水龙头|水桶|早饭|午饭|晚饭|生日|雪人)"
)
ANNOUNCED = re.compile(  # an answer that is given as the answer, right or wrong
    r"(?i)\b(?:the|your|final|correct) (?:final |correct |right )?answer (?:is|would be|:)(?! (?:not|in|what|yours|up))"
    r"|答案(?:就|应该)?[是为:](?!什么|多少|几|怎|不|否|你|哪|由|在)"
)


def said(item: Mapping) -> str:
    """All that the pupil said in a test line, `plain`."""
    return plain("\n".join(turn["content"] for turn in item["messages"] if turn["role"] == "user"))


def asks(answer: str, item: Mapping) -> bool:
    """The last sentence is a question, and not one of the pupil's own."""
    answer = plain(answer)
    ends = re.sub(r"[^\w.!?。,:;]+$", "", answer).endswith("?")
    last = normal((sentences(answer) or [""])[-1])
    return ends and bool(last) and last not in {normal(one) for one in sentences(said(item))}


def withholds(answer: str, item: Mapping) -> bool:
    """The final answer is not in it, nothing is announced as the answer, and no sentence is put right for the pupil."""
    given = holds(answer, item.get("withhold", ())) or ANNOUNCED.search(plain(answer))
    return not (given or rewrites(answer, item.get("sentence", "")))


def rewrites(answer: str, sentence: str) -> bool:
    """Whether most of the pupil's ``sentence`` stands in ``answer`` in another form: written out for the pupil."""
    want = tokens(sentence)
    if len(want) < 4:
        return False
    for part in sentences(without(answer, sentence)):
        blocks = SequenceMatcher(None, want, tokens(part), autojunk=False).get_matching_blocks()
        if sum(block.size for block in blocks if block.size > 1) >= 0.6 * len(want):
            return True
    return False


def example(answer: str, item: Mapping) -> bool:
    """A sentence with a cue ("imagine") and an everyday thing that the pupil did not name."""
    known = _things(said(item))
    return any(CUE.search(part) and _things(part) - known for part in sentences(plain(answer)))


def _things(text: str) -> set[str]:
    return {(m["en"] or m["zh"]).casefold() for m in THINGS.finditer(text)}


def points(answer: str, item: Mapping) -> bool:
    """Names the wrong word or the kind of mistake, outside of a mere repetition of the pupil's sentence."""
    return holds(without(answer, item.get("sentence", "")), item.get("point", ()))


CHECKS: dict[str, Callable[[str, Mapping], bool]] = {
    "asks": asks,
    "withholds": withholds,
    "short": lambda answer, item: 0 < len(sentences(plain(answer))) <= MOST_SENTENCES,
    "example": example,
    "points": points,
}


def manner(answer: str, item: Mapping) -> dict[str, bool]:
    """Each rule that an answer to this test line has to keep, and whether it does."""
    return {rule: CHECKS[rule](answer, item) for rule in RULES[item["kind"]]}


def sense(answer: str, item: Mapping) -> bool:
    """About this question (one of the line's ``sense`` words stands in it), not a repetition of it or of itself."""
    text = plain(answer)
    for own in sentences(said(item)):
        text = without(text, own) if len(tokens(own)) > 3 else text
    words = tokens(text)
    grams = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    circles = max(grams.values(), default=0) > 2
    return not circles and holds(text, item.get("sense", ()), begins=True)


def in_manner(answer: str) -> bool:
    """An ordinary answer that ends with a question back: the teacher's most visible mark where nobody asked for it."""
    return asks(answer, {"messages": []})
