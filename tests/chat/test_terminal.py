"""`python -m helpers chat`: the history, the commands, Ctrl-C and Ctrl-D."""

from helpers.chat import terminal
from helpers.chat.conversation import ChatSession


class Typist:
    """Types the given lines; a `KeyboardInterrupt` in them is Ctrl-C at the prompt, their end Ctrl-D."""

    def __init__(self, *lines):
        self.lines, self.shown, self.interrupt = list(lines), "", False

    def read(self, prompt):
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if line is KeyboardInterrupt:
            raise KeyboardInterrupt
        return line

    def write(self, text):
        self.shown += text
        if self.interrupt and text.strip() and "model> " not in text and "model> " in self.shown:
            self.interrupt = False
            raise KeyboardInterrupt


def test_chat_keeps_the_history_and_knows_its_commands(embedded):
    session = ChatSession(*embedded, max_new_tokens=6)
    typist = Typist("/system You are a pirate.", "Hello", KeyboardInterrupt, "/nonsense", "", "And now?")
    terminal.run_chat(session, typist.read, typist.write)
    assert session.system == "You are a pirate."
    assert [turn["role"] for turn in session.history] == ["user", "assistant"] * 2
    assert typist.shown.count(terminal.HELP) == 2 and "Ctrl-D or /quit leaves" in typist.shown
    typist = Typist("/clear", "/system", "/quit", "never read")
    terminal.run_chat(session, typist.read, typist.write)
    assert session.history == [] and session.system is None and typist.lines == ["never read"]


def test_ctrl_c_stops_an_answer_and_the_session_goes_on(embedded):
    session = ChatSession(*embedded, max_new_tokens=200)
    typist = Typist("Tell me a long story.", "Hello")
    typist.interrupt = True
    terminal.run_chat(session, typist.read, typist.write)
    story = session.history[1]["content"]
    assert "(stopped)" in typist.shown and 0 < len(story.split()) < 20
    assert session.history[2]["content"] == "Hello" and session.history[3]["content"]
