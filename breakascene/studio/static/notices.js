// Gradio's own notices in the studio's words and language. WORDS: how one begins -> what is said in its place.
() => {
  const words = WORDS;
  const say = (notice) => {
    const known = Object.keys(words).find((beginning) => notice.textContent.trim().startsWith(beginning));
    if (known) notice.textContent = words[known];
  };
  const look = () => document.querySelectorAll('[data-testid="toast-text"]').forEach(say);
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}
