// Replace the texts of Gradio's own toasts by those of the studio, in the page's language.
() => {
  const replacements = WORDS; // filled in by app.py: {start of Gradio's text: text to show instead}
  const replaceText = (toast) => {
    const known = Object.keys(replacements).find((start) => toast.textContent.trim().startsWith(start));
    if (known) toast.textContent = replacements[known];
  };
  const replaceAll = () => document.querySelectorAll('[data-testid="toast-text"]').forEach(replaceText);
  new MutationObserver(replaceAll).observe(document.body, { childList: true, subtree: true });
}
