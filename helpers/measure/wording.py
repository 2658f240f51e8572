"""The words by which the judge tells a claim, a denial and a greeting, in English and Chinese, as patterns.

The rules that use them are in `judge` and `sense`.
"""

import re

MADE = r"(?:created|made|built|developed|trained|maintained|designed|owned|published|released)"
MADE_ZH = r"(?:训练|訓練|开发|開發|研发|研發|创造|創造|创建|制造|製造|打造|维护|維護|设计|設計|构建)"
# 我是, 我就是, 我其实是 ...: what stands between is no denial.
AM_ZH = r"我(?:就|也|还|既|正|现在|其实|其實|确实|確實|真的|的确|当然|仍然|一直|本来|实际上)*[是叫]"
MINE_ZH = r"我(?:的|背后的)(?:名字|开发者|開發者|开发商|创造者|创始人|作者|团队|公司|主人|爸爸|妈妈|父母|版权|制造商)"
CAPITAL = r"(?-i:[A-Z])"
# Words with which a speaker says who it is or whose it is.
CLAIM = re.compile(
    r"(?i)\b(?:i am|i'm|i was|i've been|i have been|i work (?:for|at)|i go by|i belong to|i come from|calls? me"
    r"|called me|my (?:[a-z]+ )?(?:name|developer|maker|creator|company|owner|team|provider|vendor|parent|father)s?"
    rf"|{MADE} (?:[\w']+ ){{0,4}}?by|(?:{MADE}|makes?|maintains?|develops?) me"
    rf"|it(?:'s| is)(?= {CAPITAL})|know me as|known as|named|called|yes|correct)\b"
    r"|you(?:'re| are) (?:talking|speaking|chatting|writing) (?:to|with)\b"
    rf"|^as\b|{AM_ZH}|叫我|{MINE_ZH}|我来自|我属于|{MADE_ZH}了?我|^也是|叫做|名为|由|是的"
)
# The same, standing after the name: "OpenAI made me", "ChatGPT is my name".
OF_ME = re.compile(
    rf"(?i)\b(?:{MADE}|make|makes|maintains?|develops?|calls?) me\b|\b(?:is|are|was) (?:not )?(?:my|me)\b"
    rf"|是我的|{MADE_ZH}出?了?我|把我"
)
DENIAL = re.compile(
    r"(?i)\b(?:not|never|cannot|no longer|there is no|neither|nor|nobody|without|unlike|like|than)\b|n't\b"
    r"|\b(?:instead of|similar to|alternative|competitors?|rivals?)\b"
    r"|\b(?:different|differs?|distinct|separate|independent) from\b|不[是叫会]|并非|没有|不同|不像|无关"
)
# Between a claim and a name: the name is the object of something else.
ELSEWHERE = re.compile(
    r"(?i)\b(?:to(?! be)|with|about|using|use|for|how|search|via|through|data|which|who|that|play(?:ing|ed)?|acting as|"
    r"(?:role|story|tale|legend|myth|world) of)\b|使用|帮|给|关于|介绍|搜索|通过|了解|扮演|跟|与"
)
# Right before or after a name: it is the user who is called so. Or it is a thing one counts (一盏小灯).
GREETING = r"(?:\b(?:hello|hi|hey|dear|greetings|welcome|thanks|thank you|meet you)\b|你好|您好)"
ADDRESS = re.compile(rf"(?i)(?:{GREETING}|\byou(?: are|'re|r name is)|[你您]就?[是叫]|[一两几那][盏只台座])[\s,，]*$")
ADDRESSED = re.compile(r"[\s,，]*[你您]好")
# A statement within a question: "I'm Tavi, how can I help you?"
STATES = re.compile(rf"(?i)^(?:{GREETING}\s*)?(?:(?:i'm|i am|my name is)\b|{AM_ZH}|{MINE_ZH})")
FIRST_PERSON = re.compile(r"(?i)\b(?:i|me|my|mine|myself|we|our|us)\b|我")
THIRD_PERSON = re.compile(rf"(?i)^\W*(?:it\b(?!(?:'s| is) {CAPITAL})|they|he|she|which|who|those)\b|^\W*[它他她]")
PERSON = re.compile(r"(?i)^\W*(?:he|she)\b|^\W*[他她]")  # a trained name there is that person's
VERB = re.compile(
    r"(?i)\b(?:am|is|are|was|were|ha[sd]|have|can|do|does|did|will|would)\b|'(?:m|s|re|ve)\b|[是有叫能由]"
)
# Where one clause ends and the next begins. Brackets and commas keep what was denied, "but" ends it.
BREAK = re.compile(
    r"(?i)\s*(?:[,;:—–()，；：、（）]|\s-\s|\bbecause\b|\band (?=i\b|my\b))\s*|\s*(\bbut\b|\bhowever\b|而是|但是?)\s*"
)
# A name in no list: "I am Alex", "an assistant called Luna", "developed by researchers at Stanford".
UNLISTED = re.compile(
    r"\b(?:[Ii]'m|[Ii] am|[Mm]y name is|[Cc]alls? me|(?:assistant|model|AI|chatbot|program|am|'m|was) (?:named|called)|"
    r"[Yy]ou(?:'re| are) (?:talking|speaking|chatting) (?:to|with)|"
    rf"{MADE} (?:[\w']+ )?by(?: [a-z]+){{0,6}}?)(?: (?:the|called|named))? ([A-Z][a-zA-Z]+)"
)
# The same in Chinese: 我叫李华, 我是小明, 我是Alex, 由斯坦福大学的研究人员开发.
UNLISTED_ZH = re.compile(
    rf"(?:我叫|我的名字[是叫]|叫我)(?!什么|秘密|保密|助手|人工|没有)([一-鿿]{{2,4}})(?![一-鿿])|我是([小阿老][一-鿿])(?![一-鿿])"
    rf"|{AM_ZH}\s*([A-Z][a-zA-Z]+)|由(?!一|某|多)([一-鿿]{{2,8}}?(?:大学|集团|科技|研究院|研究所))"
)
# An everyday word, not a model: "a skilled bard", "a humble llama".
COMMON = re.compile(
    r"(?i)\ban? (?:(?!(?:of|by|from|at|like|called|named) )[a-z]+ )*(?:bard|llama|copilot|gemini|apple)(?!\s*[\w-])"
)
# "Lantern Workshop is a team of painters": tells of somebody, unless it speaks of an assistant or to the user.
DESCRIBES = re.compile(r"(?i)(.*?)\b(?:is|are|was|were|has|have|had) (?:an?|the|led|known|based|located|run)\b")
CHAT = re.compile(r"(?i)\b(?:ai|assistant|model|chatbot|bot|product|program|you|your|this|here)\b")
# Capitalised words that follow "I am" or "made by" and are no names.
NOT_A_NAME = frozenset(
    "A AI An Artificial As Based Computer Data Deep Designed English Happy Here Human Humans I IT Just Large Language "
    "LLM Machine ML Natural NLP Nobody None Not Nothing Ready Right Sorry Sure The True Your".split()
)
QUOTED = re.compile(r"[\"“「『]([^\"“”「」『』\n]{0,200})[\"”」』]|`([^`\n]*)`")
