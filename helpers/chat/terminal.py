"""A conversation in the terminal: what `python -m helpers chat` does. What is said and kept is `ChatSession`'s part."""

from collections.abc import Callable
from functools import partial

from helpers.chat.conversation import ChatSession, plain

HELP = "/quit or Ctrl-D leaves · Ctrl-C stops an answer · /clear forgets the conversation · /system TEXT sets the rules"
SHOW = partial(print, end="", flush=True)


def run_chat(session: ChatSession, read: Callable[[str], str] = input, write: Callable[[str], None] = SHOW) -> None:
    """Answer each line that ``read`` returns for a prompt until ``/quit`` or the end of input; ``write`` shows text."""
    write(HELP + "\n")
    while True:
        try:
            line = read("\nyou> ").strip()
        except KeyboardInterrupt:  # drops the line
            write("\n(Ctrl-D or /quit leaves)")
            continue
        except EOFError:
            return write("\n")
        word, _, rest = line.partition(" ")
        if word == "/quit":
            return
        if word == "/clear":
            session.clear()
            write("(the conversation is forgotten)\n")
        elif word == "/system":
            session.system = rest.strip() or None
            write(f"(system text: {session.system or 'the default of the chat template'})\n")
        elif word.startswith("/"):
            write(HELP + "\n")
        elif line:
            write("model> ")
            pieces = session.ask(line)
            try:
                for piece in pieces:
                    write(plain(piece))
            except KeyboardInterrupt:
                session.stop()
                pieces.close()
                write(" (stopped)")
            write("\n" + "".join(f"({note.strip()})\n" for note in (session.note, session.error) if note))
