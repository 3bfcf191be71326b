// A mouse that rests on the photo shows the mask that a click there would give. Not on a touch screen, where there is no
// hovering; not while the mouse moves; never more than one request at a time (messages.js).
const REST = 120; // ms
const NEAR = 12; // pixels on the screen around the position that a preview was made for
let hoverTimer = 0, resting = null, shown = null;

const hidePreview = () => {
  clearTimeout(hoverTimer);
  shown?.remove();
  shown = resting = null;
};

window.showPreview = (preview) => {
  if (!preview || !resting || !photoImage()) return;
  const at = resting;
  if (distance(toPhoto(...at), preview.point) > NEAR) return;
  shown?.remove();
  const { left, top, scale } = photoPosition(), [x, y] = onCanvas(left, top);
  shown = drawLayer("preview", "image");
  const size = { width: view.width * scale, height: view.height * scale };
  for (const [name, value] of Object.entries({ x, y, ...size, href: preview.mask })) {
    shown.firstChild.setAttribute(name, value);
  }
};

if (matchMedia("(hover: hover) and (pointer: fine)").matches) {
  document.addEventListener("pointermove", (event) => {
    const at = [event.clientX, event.clientY];
    if (resting && distance(resting, at) <= NEAR / 2) return;
    hidePreview();
    const canClick = ["include", "exclude"].includes(tool());
    if (!canClick || event.buttons || event.pointerType !== "mouse" || !event.target.matches?.(PHOTO)) return;
    if (!isOnPhoto(...at)) return;
    hoverTimer = setTimeout(() => {
      resting = at;
      sendMessage("canvas-hover", { tool: tool(), points: [toPhoto(...at)] });
    }, REST);
  });
  for (const name of ["pointerdown", "wheel", "scroll", "keydown"]) {
    document.addEventListener(name, hidePreview, { capture: true, passive: true });
  }
}
