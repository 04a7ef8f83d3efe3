// What the pages do by themselves: blocks that can be copied, and cells that know their column for narrow screens.

function copied(text) {
  if (window.isSecureContext && navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");  // a page from a file, or by plain http
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  return Promise.resolve();
}

document.addEventListener("DOMContentLoaded", () => {
  for (const block of document.querySelectorAll("div[class*='highlight-']:not(.highlight-text) > .highlight")) {
    const text = block.innerText.trimEnd() + "\n";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    button.addEventListener("click", () => copied(text).then(() => {
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    }));
    block.querySelector("pre").prepend(button);
  }
  for (const table of document.querySelectorAll("table.docutils")) {
    const columns = [...table.querySelectorAll("thead th")].map((cell) => cell.innerText.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.children].forEach((cell, index) => {
        if (index && columns[index] && cell.innerText.trim()) cell.dataset.column = columns[index];
      });
    }
  }
});
