// Keyboard shortcuts: Ctrl+Enter extracts or generates; Ctrl+Z and Ctrl+Shift+Z undo and redo clicks in the photo. In text
// fields Ctrl+Z keeps its usual meaning. On a Mac the Command key does the same.
() => {
  if (window.shortcutsReady) return;
  window.shortcutsReady = true;
  const press = (...ids) => {
    const visible = ids.map((id) => document.getElementById(id)).find((button) => button?.offsetParent);
    if (visible && !visible.disabled) visible.click();
    return Boolean(visible);
  };
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase();
    const typing = event.target.closest?.("textarea, input:not([type=radio], [type=checkbox], [type=range])");
    let done = false;
    if (key === "enter") done = press("generate", "extract");
    else if (!typing && (key === "y" || (key === "z" && event.shiftKey))) done = press("redo", "edit-redo");
    else if (!typing && key === "z") done = press("undo", "edit-undo");
    if (done) event.preventDefault();
  });
}
