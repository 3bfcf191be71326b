// Insert a handle at the cursor of the prompt, with spaces around it where the text needs them.
(prompt, chip) => {
  const field = document.querySelector("#prompt textarea");
  const [start, end] = field ? [field.selectionStart, field.selectionEnd] : [prompt.length, prompt.length];
  const before = prompt.slice(0, start), after = prompt.slice(end);
  const left = before && !/\s$/.test(before) ? " " : "", right = after && !/^[\s,.]/.test(after) ? " " : "";
  const inserted = left + chip.match(/<[^>]+>$/)[0] + right;
  const cursor = start + inserted.length;
  setTimeout(() => { if (field) { field.focus(); field.setSelectionRange(cursor, cursor); } }, 60); // after Gradio's update
  return before + inserted + after;
}
