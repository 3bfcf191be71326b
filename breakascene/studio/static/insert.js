// Puts a handle where the cursor stands in the sentence, as one would type it.
(prompt, chip) => {
  const box = document.querySelector("#prompt textarea");
  const [a, b] = box ? [box.selectionStart, box.selectionEnd] : [prompt.length, prompt.length];
  const before = prompt.slice(0, a), after = prompt.slice(b);
  const left = before && !/\s$/.test(before) ? " " : "", right = after && !/^[\s,.]/.test(after) ? " " : "";
  const word = left + chip.match(/<[^>]+>$/)[0] + right;
  setTimeout(() => { if (box) { box.focus(); box.setSelectionRange(a + word.length, a + word.length); } }, 60);
  return before + word + after;
}
