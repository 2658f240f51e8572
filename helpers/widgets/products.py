"""Several products on one model: choose who is asked, one of them or all, and chat; each keeps its own conversation.

What is said and by whom is in `ProductsSession`, without a widget; `ProductsBox` is its screen.
"""

from collections.abc import Iterator, Sequence

from helpers.chat.compare import CompareSession
from helpers.chat.conversation import ChatSession
from helpers.errors import HelpersError
from helpers.scenarios.brand import Product
from helpers.scenarios.voices import voice
from helpers.widgets.shell import ConversationBox, dropdown, row
from helpers.widgets.transcript import entries

ALL = "all of them"


class ProductsSession(CompareSession):
    """Conversations with the products whose adapters stand on one model; ``chosen`` is a product's name, or `ALL`.

    Raises `AdapterError` for a product without an adapter on ``model`` (see `voices.attach`).
    """

    def __init__(self, model, tokenizer, products: Sequence[Product], max_new_tokens: int = 48):
        self.variants = {
            one.name: ChatSession(voice(model, one.key), tokenizer, max_new_tokens=max_new_tokens) for one in products
        }
        self.chosen, self.error, self.note, self.stopped = ALL, "", "", False

    def choose(self, name: str) -> None:
        """Ask this product from the next question on, or `ALL`; raises `HelpersError` for a name that is not here."""
        if name not in (*self.variants, ALL):
            raise HelpersError(f"there is no product {name!r} here", f"choose from: {', '.join(self.variants)}, {ALL}")
        self.chosen = name

    def _asked(self) -> dict[str, ChatSession]:
        return self.variants if self.chosen == ALL else {self.chosen: self.variants[self.chosen]}

    def ask(self, text: str) -> Iterator[tuple[str, str]]:
        """Put ``text`` to the chosen product, or to all in turn; returns an iterator over (name, piece)."""
        return self._in_turn({name: session.ask(text) for name, session in self._asked().items()})

    def retry(self) -> Iterator[tuple[str, str]]:
        """Put the last question of the chosen product again, or that of each."""
        return self._in_turn({name: session.retry() for name, session in self._asked().items()})


class ProductsBox(ConversationBox):
    """A `ProductsSession` as a widget, with ``examples`` to click on: a column for each product."""

    def __init__(self, session: ProductsSession, examples: Sequence[str] = ("Who are you?",)):
        self.choice = dropdown("Ask", [*session.variants, ALL], session.chosen)
        self.choice.observe(self._choose, names="value")
        super().__init__(session, {"Questions": examples}, [row([self.choice])])

    def _choose(self, change) -> None:
        self.session.choose(change["new"])
        self.screen.say(f"The next question goes to {change['new']}.")

    def _show(self) -> None:
        for i, (name, session) in enumerate(self.session.variants.items()):
            self.screen.show(i, entries(session, lambda settings, name=name: name))
