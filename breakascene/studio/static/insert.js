// Insert a handle into the prompt: at the cursor, with spaces around it where the text needs them, or, where the cursor
// stands behind other objects or at the end of the prompt, into the row of objects: "<asset0>, <asset1> and <asset2>".
(prompt, chip) => {
  const field = document.querySelector("#prompt textarea");
  const handle = chip.match(/<[^>]+>$/)[0];
  let [start, end] = field ? [field.selectionStart, field.selectionEnd] : [prompt.length, prompt.length];
  const rows = [...prompt.matchAll(/<[^<>\s]+>(?:(?:,\s*|\s+and\s+)<[^<>\s]+>)*/g)];
  const atEnd = start === end && !prompt.slice(start).trim() && !/\b(of|and|with|on|at|in|under|by|near)$/.test(prompt.trim());
  const endOf = (row) => row.index + row[0].length;
  const row = rows.find((row) => start === end && start >= endOf(row) && !prompt.slice(endOf(row), start).trim())
    ?? (atEnd ? rows.at(-1) : undefined);
  let inserted;
  if (row) {
    const handles = [...row[0].match(/<[^<>\s]+>/g), handle];
    [start, end] = [row.index, endOf(row)];
    inserted = `${handles.slice(0, -1).join(", ")} and ${handles.at(-1)}`;
  } else {
    const before = prompt.slice(0, start), after = prompt.slice(end);
    inserted = (before && !/\s$/.test(before) ? " " : "") + handle + (after && !/^[\s,.]/.test(after) ? " " : "");
  }
  const cursor = start + inserted.length;
  setTimeout(() => { if (field) { field.focus(); field.setSelectionRange(cursor, cursor); } }, 60); // after Gradio's update
  return prompt.slice(0, start) + inserted + prompt.slice(end);
}
