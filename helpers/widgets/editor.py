"""The row editor: the identity and its rows in a table, checked while one types. A shell over `rows.edit.RowTable`."""

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
SHOWN = 40  # more rows are kept, but a page of hundreds of fields is of no use


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
        self.replace_button = button(
            "Replace the broken file", "Keep it under another name, and save", lambda: self.save(replace_broken=True)
        )
        self.replace_button.layout.display = "none"
        self.add_button = button("Add a row", "Add an empty row at the end", self.add)
        self.undo_button = button("Undo", "Take the last change back", self.undo)
        self.choice = dropdown("What is trained of row", [], None)
        self.choice.observe(lambda _: self._filling or self._show_preview(), names="value")
        buttons = row([self.add_button, self.undo_button, self.upload, self.save_button, self.replace_button])
        style, head = widgets.HTML(STYLE, layout={"display": "none"}), row([self.name, self.developer])
        below = [buttons, self.status, row([self.choice]), self.preview]
        self.children = [style, head, self.name_error, self.lines, *below]
        self.add_class("idt-box")
        self._rebuild("Change what you like, then save.")

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

    def save(self, replace_broken: bool = False) -> None:
        """Save rows and identity, or say why not; ``replace_broken`` keeps a broken file under another name."""
        self.replace_button.layout.display = "none"
        try:
            self._say(self.table.save(replace_broken))
        except HelpersError as e:
            self.replace_button.layout.display = None if "left alone" in e.what else "none"
            self._say(str(e).replace(str(files.home()), "."), failed=True)

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

    def _rebuild(self, text: str) -> None:
        shown, more = self.table.raw[:SHOWN], len(self.table.raw[SHOWN:])
        self._filling = True
        self.name.value, self.developer.value = self.table.name, self.table.developer
        self.errors = [widgets.HTML() for _ in shown]
        self.fields: list[dict[str, widgets.Textarea]] = []
        self.lines.children = [self._line(i, texts) for i, texts in enumerate(shown)]
        self.choice.options = [(str(i + 1), i) for i in range(len(shown))]
        self.choice.value = 0 if shown else None
        self._filling = False
        self._check(text, f"{more} further rows are kept, and not shown." if more else "")

    def _line(self, i: int, texts: Row) -> widgets.VBox:
        fields = {key: self._field(i, key, texts[key]) for key in KEYS if key != "input" or texts["input"]}
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
        if i is not None:
            self.choice.value = i
        self._check("" if self.table.errors() or self.table.name_error() else "Changed, and not saved yet.")

    def _check(self, *said: str) -> None:
        wrong, name = self.table.errors(), self.table.name_error()
        odd = name or self.table.name_warning()
        self.name_error.value = status_html(odd, error=True) if odd else ""
        for i, error in enumerate(self.errors):
            error.value = status_html(wrong[i], error=True) if i in wrong else ""
        self.save_button.disabled = bool(wrong or name or not self.table.raw)
        self._show_preview()
        mend = ", ".join([*(["the name"] if name else []), *(f"row {i + 1}" for i in wrong)])
        self._say(" ".join(filter(None, (*said, f"Not to be saved as it is: mend {mend}." if mend else ""))))

    def _show_preview(self) -> None:
        i, tokenizer = self.choice.value, self.table.tokenizer
        if i is None or not getattr(tokenizer, "is_fast", False):  # only fast ones tell which text a token stands for
            self.preview.value = ""
        elif i in self.table.errors() or self.table.name_error():
            what = "row" if i in self.table.errors() else "name"
            self.preview.value = status_html(f"Mend the {what}, and its text stands here.")
        else:
            [filled] = fill([self.table.raw[i]], self.table.identity)
            self.preview.value = tokens_html(trainset.trained_pieces(filled, tokenizer))

    def _say(self, text: str, failed: bool = False) -> None:
        self.status.value = status_html(text, failed)


def print_table(table: RowTable) -> None:
    """The static form: the identity, its rows, and what is wrong with them."""
    wrong = table.errors()
    print(f"This editor is live in JupyterLab. Name: {table.name}. Developer: {table.developer}.")
    who = STAND_IN if table.name_error() else table.identity
    for i, raw in enumerate(table.raw):
        texts = raw if i in wrong else fill([raw], who)[0]
        print(f"{i + 1}. {plain(question_of(texts))} -> {plain(texts['output'])}")
        if i in wrong:
            print(f"   wrong: {wrong[i]}")
