"""A conversation in the terminal: `python -m helpers chat`. A thin shell over `widgets.session.ChatSession`."""

from collections.abc import Callable

from helpers.chat.conversation import ChatSession, plain

HELP = "/quit or Ctrl-D leaves · Ctrl-C stops an answer · /clear forgets the conversation · /system TEXT sets the rules"


def talk(session: ChatSession, read: Callable[[str], str] = input, write: Callable[[str], None] | None = None) -> None:
    """Read lines and answer them until ``/quit`` or the end of input. Ctrl-C while typing drops the line.

    ``read`` takes a prompt and returns a line, ``write`` takes a piece of text; both are the terminal by default.
    """
    write = write or (lambda text: print(text, end="", flush=True))
    write(HELP + "\n")
    while True:
        try:
            line = read("\nyou> ").strip()
        except KeyboardInterrupt:
            write("\n(Ctrl-D or /quit leaves)")
            continue
        except EOFError:
            write("\n")
            return
        if line == "/quit":
            return
        if line.startswith("/"):
            write(command(session, line) + "\n")
        elif line:
            answer(session, line, write)


def command(session: ChatSession, line: str) -> str:
    """Carry out ``/clear`` or ``/system TEXT`` and return what to show; the list of commands for anything else."""
    word, _, rest = line.partition(" ")
    if word == "/clear":
        session.clear()
        return "(the conversation is forgotten)"
    if word == "/system":
        session.system = rest.strip() or None
        return f"(system text: {session.system or 'the default of the chat template'})"
    return HELP


def answer(session: ChatSession, text: str, write: Callable[[str], None]) -> None:
    """Stream the answer to ``text`` through ``write``; Ctrl-C stops it, and what was said by then stays."""
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
