"""The row editor: the identity and its rows in a table, checked while one types. A shell over `rows.edit.RowTable`."""

from functools import partial

import ipywidgets as widgets

from helpers import files
from helpers.chat.conversation import plain
from helpers.errors import HelpersError
from helpers.rows import trainset
from helpers.rows.edit import RowTable
from helpers.rows.identity import fill
from helpers.rows.read import question_of
from helpers.widgets.shell import Box, button, dropdown, row
from helpers.widgets.transcript import status_html, tokens_html

FIELDS = {"instruction": ("Question", "1 1 12em"), "input": ("Input", "1 1 12em"), "output": ("Answer", "2 1 18em")}
SHOWN = 40  # more rows are kept, but a page of hundreds of fields is of no use


class RowEditor(Box):
    """A `RowTable` as a widget; ``table`` is what was made of it."""

    def __init__(self, table: RowTable):
        self.table, self._filling = table, False
        self.name = self._field(widgets.Text, "Name", "1 1 14em", lambda text: table.rename(name=text))
        self.developer = self._field(widgets.Text, "Developer", "1 1 14em", lambda text: table.rename(developer=text))
        self.name_error, self.status, self.preview = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.lines = widgets.VBox()
        self.upload = widgets.FileUpload(accept=".json,.jsonl,.csv,.tsv,.txt", multiple=False, description="Import")
        self.upload.observe(self._uploaded, names="value")
        self.save_button = button("Save", "Save rows and identity in my/", self.save)
        self.replace_button = button("Replace the broken file", "Keep a copy, and save", lambda: self.save(True))
        self.replace_button.layout.display = "none"
        self.add_button = button("Add a row", "Add an empty row at the end", lambda: self._rebuild(table.add()))
        self.undo_button = button("Undo", "Take the last change back", lambda: self._rebuild(table.undo()))
        self.choice = dropdown("What is trained of row", [], None)
        self.choice.observe(lambda _: self._filling or self._show_preview(), names="value")
        buttons = row([self.add_button, self.undo_button, self.upload, self.save_button, self.replace_button])
        above = [row([self.name, self.developer]), self.name_error, self.lines]
        super().__init__([*above, buttons, self.status, row([self.choice]), self.preview])
        self._rebuild("Change what you like, then save.")

    def save(self, replace_broken: bool = False) -> None:
        """Save rows and identity, or say why not; ``replace_broken`` keeps a broken file under another name."""
        self.replace_button.layout.display = "none"
        try:
            self.status.value = status_html(self.table.save(replace_broken))
        except HelpersError as e:
            self.replace_button.layout.display = None if "left alone" in e.what else "none"
            self.status.value = status_html(str(e).replace(str(files.home()), "."), error=True)

    def _uploaded(self, change: dict) -> None:
        for file in change["new"]:
            try:
                self._rebuild(self.table.import_text(bytes(file["content"]), file["name"]))
            except HelpersError as e:
                self.status.value = status_html(str(e), error=True)
            self.upload.value = ()  # or the button goes on counting files

    def _rebuild(self, text: str) -> None:
        shown, more = self.table.raw[:SHOWN], len(self.table.raw[SHOWN:])
        self._filling = True
        self.name.value, self.developer.value = self.table.name, self.table.developer
        self.errors, self.fields, lines = [widgets.HTML() for _ in shown], [], []
        for i, texts in enumerate(shown):
            change = {key: partial(self.table.edit, i, key) for key in FIELDS if key != "input" or texts["input"]}
            self.fields.append({
                key: self._field(widgets.Textarea, f"{FIELDS[key][0]} {i + 1}", FIELDS[key][1], do, texts[key], i)
                for key, do in change.items()
            })  # fmt: skip
            delete = button("Delete", f"Delete row {i + 1}", lambda i=i: self._rebuild(self.table.delete(i)))
            lines.append(widgets.VBox([row([*self.fields[i].values(), delete]), self.errors[i]]))
        self.lines.children = lines
        self.choice.options = [(str(i + 1), i) for i in range(len(shown))]
        self.choice.value = 0 if shown else None
        self._filling = False
        self._check(text, f"{more} further rows are kept, and not shown." if more else "")

    def _field(self, kind: type, label: str, flex: str, change, value: str = "", i: int | None = None):
        layout = {"flex": flex, "width": "auto", "min_width": "12em"}
        made = kind(value, description=label, style={"description_width": "initial"}, layout=layout)

        def typed(event: dict) -> None:
            if self._filling:
                return
            change(event["new"])
            if i is not None:
                self.choice.value = i
            self._check("" if self.table.errors() or self.table.name_error() else "Changed, and not saved yet.")

        made.observe(typed, names="value")
        return made

    def _check(self, *said: str) -> None:
        wrong, name = self.table.errors(), self.table.name_error()
        odd = name or self.table.warning()
        self.name_error.value = status_html(odd, error=True) if odd else ""
        for i, error in enumerate(self.errors):
            error.value = status_html(wrong[i], error=True) if i in wrong else ""
        self.save_button.disabled = bool(wrong or name or not self.table.raw)
        self._show_preview()
        mend = ", ".join([*(["the name"] if name else []), *(f"row {i + 1}" for i in wrong)])
        said = (*said, f"Not to be saved as it is: mend {mend}." if mend else "")
        self.status.value = status_html(" ".join(filter(None, said)))

    def _show_preview(self) -> None:
        i, tokenizer, wrong = self.choice.value, self.table.tokenizer, self.table.errors()
        if i is None or not getattr(tokenizer, "is_fast", False):  # only fast ones tell which text a token stands for
            self.preview.value = ""
        elif i in wrong or self.table.name_error():
            self.preview.value = status_html(f"Mend the {'row' if i in wrong else 'name'}, and its text stands here.")
        else:
            [filled] = fill([self.table.raw[i]], self.table.identity)
            self.preview.value = tokens_html(trainset.trained_pieces(filled, tokenizer))


def print_table(table: RowTable) -> None:
    """The static form: the identity, its rows, and what is wrong with them."""
    print(f"This editor is live in JupyterLab. Name: {table.name}. Developer: {table.developer}.")
    for i, raw in enumerate(table.raw):
        wrong = table.errors().get(i)
        texts = raw if wrong else fill([raw], table.identity)[0]
        print(f"{i + 1}. {plain(question_of(texts))} -> {plain(texts['output'])}")
        if wrong:
            print(f"   wrong: {wrong}")
