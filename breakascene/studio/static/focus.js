// Keep the keyboard's place: if the control that has the focus goes away or is disabled, the nearest one gets the focus.
// Otherwise it would be at the top of the page.
() => {
  const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0'], [role=tab]";
  const TEXT = "textarea, input:not([type=radio], [type=checkbox], [type=range])"; // would open a phone's keyboard
  const isThere = (control) => control.isConnected && !control.disabled && control.checkVisibility({ visibilityProperty: true });
  let byKeyboard = false, last = null, before = []; // the control that has the focus, and those before it, the nearest first

  const controls = () => [...document.querySelectorAll(CONTROLS)].filter((control) => isThere(control) && !control.matches(TEXT));
  const follows = (control) => last.compareDocumentPosition(control) & Node.DOCUMENT_POSITION_FOLLOWING;
  const next = () => {
    const panel = last.isConnected && last.closest("[role=tabpanel]");
    const found = panel && controls().find((control) => panel.contains(control) && follows(control));
    const nearest = found || before.find(isThere);
    return nearest?.matches("[role=tab]") ? document.querySelector("[role=tab][aria-selected=true]") : nearest;
  };

  document.addEventListener("focusin", ({ target }) => {
    const all = controls();
    last = target;
    before = all.filter((control) => target.compareDocumentPosition(control) & Node.DOCUMENT_POSITION_PRECEDING).reverse();
  });
  for (const name of ["keydown", "pointerdown"]) {
    document.addEventListener(name, () => { byKeyboard = name === "keydown"; }, true);
  }
  const check = () => {
    if (!byKeyboard || !last || document.activeElement !== document.body || isThere(last)) return;
    next()?.focus({ preventScroll: true });
  };
  const options = { childList: true, subtree: true, attributes: true, attributeFilter: ["style", "class", "hidden", "disabled"] };
  new MutationObserver(() => setTimeout(check, 50)).observe(document.body, options); // after Gradio has put in what replaces it
}
