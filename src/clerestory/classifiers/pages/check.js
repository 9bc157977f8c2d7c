const sheet = JSON.parse(document.getElementById("sheet").dataset.sheet);
const keys = "123456789abcdefghijklmnopqrstuvwxyz";
const few = sheet.classes.length <= keys.length;
const name = "clerestory:" + sheet.sheet;
const find = id => document.getElementById(id);
const labelOf = level => sheet.labels[sheet.classes.indexOf(level)] || level;
let marks = {}, at = 0;
try { marks = JSON.parse(localStorage.getItem(name)) || {}; } catch { /* no storage: marks are lost with the page */ }

function mark(level) {
  marks[sheet.pictures[at].sample] = level;
  try { localStorage.setItem(name, JSON.stringify(marks)); } catch { /* as above */ }
  move(1);
}
function move(by) { at = Math.max(0, Math.min(sheet.pictures.length - 1, at + by)); show(); }

function show() {
  const entry = sheet.pictures[at], done = Object.keys(marks).length;
  find("picture").src = entry.picture;
  find("bar").max = sheet.pictures.length;
  find("bar").value = done;
  const current = marks[entry.sample];
  find("count").textContent = `Picture ${at + 1} of ${sheet.pictures.length}, ${done} marked` + (current ? ` · marked: ${labelOf(current)}` : "");
  for (const button of find("choices").querySelectorAll("button"))
    button.setAttribute("aria-pressed", button.dataset.level === current);
  const text = find("text");
  if (text) { text.value = current && current !== sheet.unsure ? current : ""; text.focus(); }
}

function choices() {
  const box = find("choices");
  if (few) {
    sheet.classes.forEach((level, index) => {
      const button = document.createElement("button"), key = document.createElement("kbd");
      key.textContent = keys[index];
      button.append(key, labelOf(level));
      button.type = "button";
      button.dataset.level = level;
      button.onclick = () => mark(level);
      box.append(button);
    });
    return;
  }
  const text = document.createElement("input"), list = document.createElement("datalist");
  text.id = "text"; list.id = "levels"; text.setAttribute("list", "levels");
  text.placeholder = "what it shows, then Enter";
  text.setAttribute("aria-label", text.placeholder);
  for (const level of sheet.classes) { const option = document.createElement("option"); option.value = level; list.append(option); }
  text.onkeydown = event => { if (event.key === "Enter" && sheet.classes.includes(text.value)) mark(text.value); };
  box.append(text, list);
}

/* A spreadsheet would run text that begins like a formula; after an apostrophe it stays text. */
const escapeFormula = text => /^[=+\-@\t\r]/.test(text) ? "'" + text : text;
const quoted = text => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
find("save").onclick = () => {
  const lines = sheet.pictures.map(entry => [entry.sample, entry.picture, quoted(escapeFormula(marks[entry.sample] || ""))].join());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["sample,picture,marked\n" + lines.join("\n") + "\n"], {type: "text/csv"}));
  link.download = "marks.csv";
  link.click();
};
find("back").onclick = () => move(-1);
find("next").onclick = () => move(1);
find("unsure").onclick = () => mark(sheet.unsure);
document.onkeydown = event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft" && event.target.tagName !== "INPUT") move(-1);
  else if (event.key === "ArrowRight" && event.target.tagName !== "INPUT") move(1);
  else if (event.key === "?") { mark(sheet.unsure); event.preventDefault(); }
  else if (few && keys.includes(event.key) && keys.indexOf(event.key) < sheet.classes.length) mark(sheet.classes[keys.indexOf(event.key)]);
};
choices();
show();
