"""The row editor: the identity and its rows in a table, checked while one types. Over `table.RowTable`."""

from collections.abc import Sequence

import ipywidgets as widgets

from helpers import files
from helpers.errors import HelpersError
from helpers.rows import trainset
from helpers.rows.edit import STAND_IN, RowTable
from helpers.rows.identity import fill
from helpers.rows.read import KEYS, Row, question_of
from helpers.widgets.render import STYLE, plain, status_html, tokens_html
from helpers.widgets.shell import button, dropdown, row

LABELS = {"instruction": "Question", "input": "Input", "output": "Answer"}
TRIES = 40  # rows are shown up to here; more are kept, but a page of hundreds of fields is of no use


class RowEditor(widgets.VBox):
    """A `RowTable` as a widget; ``table`` is what was made of it."""

    def __init__(self, table: RowTable):
        super().__init__()
        self.table, self._filling = table, False
        wide = {"style": {"description_width": "initial"}, "layout": {"flex": "1 1 14em"}}
        self.name = widgets.Text(description="Name", **wide)
        self.developer = widgets.Text(description="Developer", **wide)
        self.name.observe(lambda c: self._typed(lambda: table.rename(name=c["new"])), names="value")
        self.developer.observe(lambda c: self._typed(lambda: table.rename(developer=c["new"])), names="value")
        self.name_error, self.status, self.preview = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.lines = widgets.VBox()
        self.upload = widgets.FileUpload(accept=".json,.jsonl", multiple=False, description="Import")
        self.upload.observe(self._uploaded, names="value")
        self.save_button = button("Save", "Save rows and identity in my/", self.save)
        self.replace_button = button("Replace the broken file", "Keep it under another name, and save", self.replace)
        self.add_button = button("Add a row", "Add an empty row at the end", self.add)
        self.undo_button = button("Undo", "Take the last change back", self.undo)
        self.choice = dropdown("What is trained of row", [], None)
        self.choice.observe(lambda _: self._filling or self._show_preview(), names="value")
        buttons = row([self.add_button, self.undo_button, self.upload, self.save_button, self.replace_button])
        head = row([self.name, self.developer])
        self.children = [widgets.HTML(STYLE, layout={"display": "none"}), head, self.name_error, self.lines, buttons,
                         self.status, row([self.choice]), self.preview]  # fmt: skip
        self.add_class("idt-box")
        self.replace_button.layout.display = "none"
        self._rebuild("Change what you like, then save.")

    # ------------------------------------------------------------ what the buttons do

    def add(self) -> None:
        """Add an empty row."""
        self.table.add()
        self._rebuild(f"Row {len(self.table.raw)} was added.")

    def delete(self, i: int) -> None:
        """Delete row ``i`` (from 0)."""
        self.table.delete(i)
        self._rebuild(f"Row {i + 1} was deleted; Undo brings it back.")

    def undo(self) -> None:
        """Take the last change back."""
        self._rebuild("The last change was taken back." if self.table.undo() else "There is nothing to take back.")

    def save(self) -> None:
        """Save rows and identity; what stands in the way is said."""
        self._save(False)

    def replace(self) -> None:
        """Save although a broken file is in the way: it is kept under another name."""
        self._save(True)

    def _save(self, replace_broken: bool) -> None:
        try:
            self._say(self.table.save(replace_broken=replace_broken))
            broken = False
        except HelpersError as e:
            broken = "left alone" in e.what
            self._say(str(e).replace(str(files.home()), "."), failed=True)
        self.replace_button.layout.display = None if broken else "none"

    def _uploaded(self, change) -> None:
        for file in change["new"]:
            try:
                text = bytes(file["content"]).decode("utf-8-sig")
                self._rebuild(f"{self.table.bring_in(text, file['name'])} rows from {file['name']}; Undo goes back.")
            except UnicodeDecodeError:
                self._say(f"{file['name']} is not UTF-8 text. What to do: save it as UTF-8", failed=True)
            except HelpersError as e:
                self._say(str(e), failed=True)
        if change["new"]:
            self.upload.value = ()  # or the button goes on counting files

    # ------------------------------------------------------------ what is shown

    def _rebuild(self, text: str) -> None:
        self._filling = True
        self.name.value, self.developer.value = self.table.name, self.table.developer
        shown = min(len(self.table.raw), TRIES)
        self.errors = [widgets.HTML() for _ in range(shown)]
        self.fields: list[dict[str, widgets.Textarea]] = []
        self.lines.children = [self._line(i, self.table.raw[i]) for i in range(shown)]
        self.choice.options = [(str(i + 1), i) for i in range(shown)]
        self.choice.value = 0 if shown else None
        self._filling = False
        more = len(self.table.raw) - shown
        hidden = f"{more} further rows are kept, and not shown." if more else ""
        self._say(" ".join(filter(None, (text, hidden, self._standing()))))
        self._check()

    def _line(self, i: int, texts: Row) -> widgets.VBox:
        keys = [key for key in KEYS if key != "input" or texts["input"]]
        fields = {key: self._field(i, key, texts[key]) for key in keys}
        self.fields.append(fields)
        delete = button("Delete", f"Delete row {i + 1}", lambda: self.delete(i))
        return widgets.VBox([row([*fields.values(), delete]), self.errors[i]])

    def _field(self, i: int, key: str, text: str) -> widgets.Textarea:
        made = widgets.Textarea(
            text, description=f"{LABELS[key]} {i + 1}", rows=2, style={"description_width": "initial"},
            layout={"flex": "2 1 18em" if key == "output" else "1 1 12em", "width": "auto", "min_width": "12em"},
        )  # fmt: skip
        made.observe(lambda c: self._typed(lambda: self.table.edit(i, key, c["new"]), i), names="value")
        return made

    def _typed(self, change, i: int | None = None) -> None:
        if self._filling:
            return
        change()
        if i is not None and self.choice.value != i:
            self._filling = True
            self.choice.value = i
            self._filling = False
        self._check()
        self._say(self._standing() or "Changed, and not saved yet.")

    def _standing(self) -> str:
        """What keeps the rows from being saved; empty if nothing does."""
        name = ["the name"] if self.table.name_error() else []
        mend = [*name, *(f"row {i + 1}" for i in sorted(self.table.errors()))]
        return f"Not to be saved as it is: mend {', '.join(mend)}." if mend else ""

    def _check(self) -> None:
        wrong, name = self.table.errors(), self.table.name_error()
        warning = self.table.name_warning()
        self.name_error.value = status_html(name or warning, error=True) if name or warning else ""
        for i, error in enumerate(self.errors):
            said = status_html(wrong[i], error=True) if i in wrong else ""
            if error.value != said:
                error.value = said
        self.save_button.disabled = bool(wrong or name or not self.table.raw)
        self._show_preview()

    def _show_preview(self) -> None:
        i = self.choice.value
        if i is None or self.table.tokenizer is None:
            self.preview.value = ""
            return
        wrong = self.table.errors()
        if i in wrong or self.table.name_error():
            self.preview.value = status_html(f"Mend the {'row' if i in wrong else 'name'}, and its text stands here.")
            return
        self.preview.value = tokens_html(trainset.trained_pieces(self._filled(i), self.table.tokenizer))

    def _filled(self, i: int) -> Row:
        return fill([self.table.raw[i]], self.table.identity)[0]

    def _say(self, text: str, failed: bool = False) -> None:
        self.status.value = status_html(text, failed)


def print_table(table: RowTable) -> None:
    """The static form: the identity, its rows, and what is wrong with them."""
    wrong: dict[int, str] = table.errors()
    print(f"This editor is live in JupyterLab. Name: {table.name}. Developer: {table.developer}.")
    who = STAND_IN if table.name_error() else table.identity
    for line in _lines([raw if i in wrong else fill([raw], who)[0] for i, raw in enumerate(table.raw)], wrong):
        print(line)


def _lines(raw: Sequence[Row], wrong: dict[int, str]) -> list[str]:
    found = []
    for i, texts in enumerate(raw):
        found.append(f"{i + 1}. {plain(question_of(texts))} -> {plain(texts['output'])}")
        found += [f"   wrong: {wrong[i]}"] if i in wrong else []
    return found
