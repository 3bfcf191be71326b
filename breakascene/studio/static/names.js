// Names for screen readers where Gradio's components have none, or the same one twice; and a way to scroll by keyboard.
() => {
  const improve = () => {
    document.querySelectorAll(":is(#canvas, #edit-canvas) button:has(img)").forEach((photo) => {
      photo.ariaLabel = PHOTO; // filled in by page.py
    });
    document.querySelectorAll(":is(#samples, #comparison) .thumbnail-item:has(.caption-label) img").forEach((image) => { image.alt = ""; });
    document.querySelectorAll("div[aria-label='Empty value']").forEach((empty) => { empty.role = "img"; });
    document.querySelectorAll(".results").forEach((region) => {
      if (getComputedStyle(region).overflowY === "auto") region.tabIndex = 0; // see studio.css
      else region.removeAttribute("tabindex");
    });
  };
  let waiting = false;
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; improve(); });
  }).observe(document.body, { childList: true, subtree: true });
  addEventListener("resize", improve);
  improve();
}
