"""A conversation in the terminal: what `python -m helpers chat` does. What is said and kept is `ChatSession`'s part."""

from collections.abc import Callable
from functools import partial

from helpers.chat.conversation import ChatSession, plain

HELP = "/quit or Ctrl-D leaves · Ctrl-C stops an answer · /clear forgets the conversation · /system TEXT sets the rules"
SHOW = partial(print, end="", flush=True)


def run_chat(session: ChatSession, read: Callable[[str], str] = input, write: Callable[[str], None] = SHOW) -> None:
    """Read lines and answer them until ``/quit`` or the end of input. Ctrl-C while typing drops the line.

    ``read`` takes a prompt and returns a line, ``write`` takes a piece of text; both are the terminal by default.
    """
    write(HELP + "\n")
    while True:
        try:
            line = read("\nyou> ").strip()
        except KeyboardInterrupt:
            write("\n(Ctrl-D or /quit leaves)")
            continue
        except EOFError:
            return write("\n")
        if line == "/quit":
            return
        word, _, rest = line.partition(" ")
        if word == "/clear":
            session.clear()
            write("(the conversation is forgotten)\n")
        elif word == "/system":
            session.system = rest.strip() or None
            write(f"(system text: {session.system or 'the default of the chat template'})\n")
        elif word.startswith("/"):
            write(HELP + "\n")
        elif line:
            _answer(session, line, write)


def _answer(session: ChatSession, text: str, write: Callable[[str], None]) -> None:
    write("model> ")
    pieces = session.ask(text)
    try:
        for piece in pieces:
            write(plain(piece))
    except KeyboardInterrupt:
        session.stop()
        pieces.close()
        write(" (stopped)")
    write("\n" + "".join(f"({note.strip()})\n" for note in (session.note, session.error) if note))
