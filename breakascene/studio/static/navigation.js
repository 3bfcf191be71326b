// Gradio reloads the page by itself after it has lost the connection for a moment. While the visitor is on the way to
// another page, such a reload would replace the page that they asked for: it is cancelled then.
() => {
  let leaving = 0;
  addEventListener("beforeunload", () => { leaving = Date.now(); });
  addEventListener("pageshow", () => { leaving = 0; });
  window.navigation?.addEventListener("navigate", (event) => {
    const same = event.destination.url === location.href;
    if (same && !event.userInitiated && Date.now() - leaving < 30000) event.preventDefault();
  });
}
