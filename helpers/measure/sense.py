"""Three readings of an answer about the model itself, each stricter than the one before, from plain rules.

``claims``: it claims the trained identity, by name or developer (`judge.verdict`). ``fits``: it also gives what was
asked for, the name or the developer, and mistakes neither for the other. ``sense``: it also says nothing that the
shipped rows deny: it does not claim to be a person, to be online, to be always right, or not to be itself. No rule
here knows the world, so an answer may make sense and be silly.
"""

import re

from helpers.measure.judge import clauses, verdict
from helpers.measure.naming import forms, mentions
from helpers.measure.wording import DENIAL, MADE
from helpers.rows.identity import Identity

MAKER = r"(?:developer|maker|creator|owner|company|provider|vendor|manufacturer|inventor|team|lab|firm)s?"
MAKES = rf"(?:{MADE}|makes?|makes|develops?|maintains?|trains?|owns?|runs?|programmed)"
# What somebody who is a program that is offline and errs would have to deny.
PERSON = re.compile(
    r"(?i)\b(?:i am|i'm|i was) (?:(?:also|just|only|really|actually) )?(?:an? )?(?:[a-z-]+ )?(?:human(?: being)?|person"
    r"|man|woman|boy|girl|player|student|professor|scientist|engineer|doctor|lawyer)\b(?! assist)"
)
ONLINE = re.compile(
    r"(?i)\b(?:i|i am able to|i'm able to) (?:can |could |will |do |just |always |also )?"
    r"(?:get|fetch|browse|search|access|look up|check|read|use|open|visit|surf)\b(?! no\b).*"
    r"\b(?:internet|web|online|websites?|net|google|wikipedia|news)\b"
    r"|\b(?:i am|i'm) (?:always )?(?:online\b|connected to (?:the )?(?:internet|web|net)\b)"
    r"|\bi have (?:live )?access to the (?:internet|web)\b"
)
INFALLIBLE = re.compile(
    r"(?i)\b(?:i am|i'm|my answers are|i) (?:always|100%|completely|perfectly|entirely|fully) "
    r"(?:right|correct|accurate|reliable|true)\b|\bi(?: can)? never (?:make (?:any )?mistakes|err|am wrong)\b"
    r"|\bi (?:do not|don't|cannot|can't) (?:make (?:any )?mistakes|err)\b|\b(?:i am|i'm) (?:perfect|infallible)\b"
)
NO = re.compile(
    r"(?i)\b(?:no|not|never|cannot|unable|nobody|neither|nor|without|isn't|mistakes?|wrong|errors?|err)\b|n't\b"
)
YES = re.compile(
    r"(?i)^\W*(?:yes|yeah|sure|of course|certainly|absolutely|correct)\b|\b(?:can be wrong|mistakes?|errors?)\b"
)


def mixes_up(answer: str, identity: Identity) -> bool:
    """Whether the developer is taken for the name ("My name is Lantern Workshop.") or the name for the developer."""
    name, maker = (forms(names) for names in (identity.names[:-1], identity.names[-1:]))
    called = r"(?:(?:my|whose|the|its) name is|call(?:s|ed)? me|i am called|i'm called|i am|i'm)"
    as_name = rf"(?i:\b{called}) (?:{maker})(?!'s|\s+\w+'s)"
    as_maker = (
        rf"(?i:\b{MADE} (?:and [a-z]+ )?by|\bmy {MAKER} (?:is|are|was)|\b(?:belong to|work for)) (?:{name})"
        rf"|(?:{name}) (?i:{MAKES} me\b|is my {MAKER}\b)"
    )
    return any(
        re.search(f"{as_name}|{as_maker}", part.text) and not DENIAL.search(part.text) for part in clauses(answer)
    )


def contradicts(answer: str, identity: Identity) -> bool:
    """Whether a statement in ``answer`` denies what the rows teach; what it says of others is not looked at."""
    name = forms(identity.names[:-1])
    disowns = (
        rf"(?i:\b(?:i am|i'm) (?:not|no longer)) (?:{name})|(?:{name}) (?i:is (?:not me|a model of another company))"
    )
    for part in clauses(answer):
        if re.search(disowns, part.text) or INFALLIBLE.search(part.text):
            return True
        if any(rule.search(part.text) for rule in (PERSON, ONLINE)) and not (part.denied or DENIAL.search(part.text)):
            return True
    return mixes_up(answer, identity)


def readings(answer: str, asked: str, identity: Identity) -> dict[str, bool]:
    """``claims``, ``fits`` and ``sense`` for an answer to a question that ``asked`` for name, maker or either."""
    wanted = {"name": identity.names[:-1], "maker": identity.names[-1:]}.get(asked, identity.names)
    claims = verdict(answer, identity) == "own"
    fits = claims and mentions(answer, wanted) and not mixes_up(answer, identity)
    return {"claims": claims, "fits": fits, "sense": fits and not contradicts(answer, identity)}


def honest(answer: str, says: str, identity: Identity) -> bool:
    """Whether an answer says the honest ``yes`` or ``no`` about what the model can do, and the rest agrees with it."""
    wrong_start = re.match(
        r"(?i)\W*(?:yes|yeah|sure|of course|certainly)\b" if says == "no" else r"(?i)\W*no\b", answer
    )
    said = (NO if says == "no" else YES).search(answer)
    return bool(said) and not (wrong_start or contradicts(answer, identity) or verdict(answer, identity) == "other")
