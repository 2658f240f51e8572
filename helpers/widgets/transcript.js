// Conversations side by side, a field to ask in, a copy button and a status line.
// What a model said reaches the page as text nodes only; nothing here parses markup. No library, no network.

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// What the kernel sends is applied to the model's own copy, which every view then draws: a page that is loaded again
// gets the whole of it from the kernel. An addition that does not fit tells that something was missed: ask for it all.
function apply(model, op) {
  const columns = model.get("columns");
  if (op.op === "all") {
    model.set("columns", op.columns);
  } else if (op.op === "entries" && columns[op.column] && columns[op.column].length >= op.from) {
    columns[op.column].splice(op.from, Infinity, ...op.entries);
  } else if (op.op === "text") {
    const entry = (columns[op.column] || [])[op.entry];
    if (entry && entry.text.length === op.at) entry.text += op.text;
    else model.send({ op: "resync" });
  } else if (op.op === "entries") {
    model.send({ op: "resync" });
  }
}

class Column {
  constructor(name) {
    this.root = make("section", "idt-column");
    this.heading = make("h3", "idt-heading", name);
    this.screen = make("div", "idt-screen");
    this.screen.tabIndex = 0; // so that the keyboard can scroll it
    this.screen.setAttribute("role", "log");
    this.screen.setAttribute("aria-live", "polite");
    this.empty = make("p", "idt-empty", "Nothing was asked yet.");
    this.screen.append(this.empty);
    this.root.append(this.heading, this.screen);
    this.shown = [];
  }

  name(text, several) {
    this.heading.textContent = text;
    this.heading.hidden = !several;
    this.screen.setAttribute("aria-label", several ? `Conversation: ${text}` : "Conversation");
  }

  draw(entries, busy) {
    const atEnd = this.screen.scrollHeight - this.screen.scrollTop - this.screen.clientHeight < 48;
    this.screen.setAttribute("aria-busy", String(busy)); // a reader then speaks the whole answer, not its pieces
    while (this.shown.length > entries.length) this.shown.pop().root.remove();
    entries.forEach((entry, i) => this.drawEntry(entry, i));
    this.empty.hidden = entries.length > 0;
    if (atEnd) this.screen.scrollTop = this.screen.scrollHeight;
  }

  drawEntry(entry, i) {
    let shown = this.shown[i];
    if (!shown) {
      const root = make("div"), who = make("p", "idt-who"), text = make("p", "idt-text");
      text.dir = "auto";
      const node = document.createTextNode("");
      text.append(node);
      root.append(who, text);
      this.screen.append(root);
      shown = this.shown[i] = { root, who, node, text: "" };
    }
    shown.root.className = `idt-entry idt-${entry.kind}`;
    if (shown.who.textContent !== entry.who) shown.who.textContent = entry.who;
    shown.who.hidden = !entry.who;
    if (shown.text === entry.text) return;
    if (entry.text.startsWith(shown.text)) shown.node.appendData(entry.text.slice(shown.text.length));
    else shown.node.data = entry.text;
    shown.text = entry.text;
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Browsers give a page the clipboard only over https or on localhost; a class often uses neither.
    const field = make("textarea");
    field.value = text;
    field.style.position = "fixed";
    field.style.opacity = "0";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

function asText(model) {
  const names = model.get("names");
  const parts = model.get("columns").map((entries, i) => {
    const lines = entries.map((entry) => (entry.who ? `${entry.who}: ${entry.text}` : entry.text));
    return (names.length > 1 ? [`== ${names[i]}`, ...lines] : lines).join("\n");
  });
  return parts.join("\n\n");
}

function questionField(model) {
  const label = make("label", "idt-ask");
  const field = make("textarea", "idt-field");
  field.rows = 2;
  field.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab would run the cell on Shift-Enter
  field.placeholder = "Type a question. Enter sends it, Shift-Enter breaks the line.";
  label.append(make("span", "idt-label", "Question"), field);
  const send = () => model.send({ op: "ask", text: field.value });
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  return { label, field, send };
}

function strengthSlider(model) {
  const label = make("label", "idt-strength");
  const range = make("input"), shown = make("output", "", "");
  Object.assign(range, { type: "range", min: 0, max: 150, step: 10, value: Math.round(100 * model.get("strength")) });
  const draw = () => { shown.textContent = ` ${range.value}%`; range.setAttribute("aria-valuetext", `${range.value}%`); };
  range.addEventListener("input", draw);
  range.addEventListener("change", () => { model.set("strength", range.value / 100); model.save_changes(); });
  range.addEventListener("keydown", (event) => event.stopPropagation());
  range.setAttribute("data-lm-suppress-shortcuts", "true");
  label.append(make("span", "idt-label", "Strength of the adapter"), range, shown);
  draw();
  return label;
}

function render({ model, el }) {
  const root = make("div", "idt-conversation");
  const bar = make("div", "idt-columns");
  const question = questionField(model);
  const status = make("p", "idt-status");
  status.setAttribute("role", "status");
  const copyButton = make("button", "idt-copy jupyter-widgets jupyter-button widget-button", "Copy");
  copyButton.type = "button";
  copyButton.title = "Copy the conversation to the clipboard";
  const sendButton = make("button", "idt-send jupyter-widgets jupyter-button widget-button mod-primary", "Send");
  sendButton.type = "button";
  sendButton.addEventListener("click", question.send);
  const say = (text, failed) => {
    status.textContent = text;
    status.classList.toggle("idt-failed", Boolean(failed));
  };
  copyButton.addEventListener("click", async () => {
    const text = asText(model);
    if (!text.trim()) {
      say("There is nothing to copy yet.", false);
      return;
    }
    const done = await copy(text);
    say(done ? "Copied." : "The browser did not allow copying: select the text and press Ctrl-C.", !done);
  });
  const ask = make("div", "idt-line"), foot = make("div", "idt-line");
  ask.append(question.label, sendButton);
  foot.append(status, copyButton);
  root.append(bar, foot, ...(model.get("has_strength") ? [strengthSlider(model)] : []), ask);
  const hides = model.get("hides"); // the line for pages on which this script never runs
  if (hides) root.append(make("style", "", `.${hides} { display: none; }`));
  el.append(root);

  let columns = [];
  const draw = () => {
    const names = model.get("names"), entries = model.get("columns");
    if (columns.length !== names.length) {
      columns = names.map((name) => new Column(name));
      bar.replaceChildren(...columns.map((column) => column.root));
    }
    columns.forEach((column, i) => {
      column.name(names[i], names.length > 1);
      column.draw(entries[i] || [], model.get("busy"));
    });
  };
  const react = (op) => {
    if (op.op === "taken") question.field.value = "";
    else draw();
  };
  const tell = () => say(model.get("status"), model.get("failed"));
  const listening = [["msg:custom", react], ["change:names change:busy change:columns", draw],
    ["change:status change:failed", tell]];
  listening.forEach(([event, callback]) => model.on(event, callback));
  draw();
  tell();
  return () => listening.forEach(([event, callback]) => model.off(event, callback));
}

export default {
  initialize({ model }) {
    const receive = (op) => apply(model, op);
    model.on("msg:custom", receive);
    model.send({ op: "resync" }); // what was said between this widget's making and its arrival here
    return () => model.off("msg:custom", receive);
  },
  render,
};
