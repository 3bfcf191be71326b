// The canvas on which objects are placed (screens/layout.py). An object is added with its button, dragged, and scaled at
// its corner; the keyboard does the same: arrow keys move, + and - scale, M mirrors, Page Up and Page Down change the
// order, Delete removes. Later elements stand in front. layoutValues() returns the layout as JSON for the studio.
() => {
  const STEP = 0.02, MIN = 0.08, FIRST = 0.4; // shares of the canvas
  const root = () => document.getElementById("layout-canvas");
  const stage = () => root()?.querySelector(".stage");
  const placed = () => [...(stage()?.querySelectorAll(".placed") || [])];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
  let drag = null;

  const aspect = () => { // width by height of the canvas
    const [width, height] = root().querySelector("[data-sizes]") ? shape() : [1, 1];
    return width / height;
  };
  const shape = () => {
    const sizes = JSON.parse(root().querySelector("[data-sizes]").dataset.sizes);
    return sizes[document.querySelector("#shape input:checked")?.value] || Object.values(sizes)[0];
  };
  const size = (item) => [item.w, item.w * aspect() / item.ratio]; // width and height, in shares
  const fitting = (width, { ratio }) => { // neither side is too small for the studio, or larger than the canvas
    const most = Math.min(1, ratio / aspect());
    return clamp(width, Math.min(most, MIN * Math.max(1, ratio / aspect())), most);
  };
  const read = (node) => ({ x: +node.dataset.x, y: +node.dataset.y, w: +node.dataset.w, ratio: +node.dataset.ratio });
  const show = (node, values = {}) => {
    const item = { ...read(node), ...values };
    item.w = fitting(item.w, item);
    const [w, h] = size(item);
    item.x = clamp(item.x, 0, 1 - w);
    item.y = clamp(item.y, 0, 1 - h);
    for (const key of ["x", "y", "w"]) node.dataset[key] = item[key].toFixed(4);
    Object.assign(node.style, { left: `${100 * item.x}%`, top: `${100 * item.y}%`, width: `${100 * w}%`, height: `${100 * h}%` });
  };
  const scale = (node, factor) => { // around the center
    const item = read(node), [w, h] = size(item), width = fitting(item.w * factor, item);
    show(node, { w: width, x: item.x + (w - width) / 2, y: item.y + (h - h * width / w) / 2 });
  };
  const choose = (node) => {
    for (const other of placed()) other.classList.toggle("chosen", other === node);
    for (const button of root().querySelectorAll(".layout-tools button")) button.disabled = !node;
  };
  const chosen = () => placed().find((node) => node.classList.contains("chosen"));

  const add = (button) => {
    const node = document.createElement("div"), image = document.createElement("img"), corner = document.createElement("i");
    const picture = button.querySelector("img"), ratio = picture.naturalWidth / picture.naturalHeight || 1, count = placed().length;
    Object.assign(node, { className: "placed", tabIndex: 0 });
    node.setAttribute("role", "button");
    node.setAttribute("aria-label", button.dataset.name);
    Object.assign(image, { src: picture.src, alt: "", draggable: false });
    Object.assign(node.dataset, { handle: button.dataset.handle, ratio, w: FIRST * Math.min(1, ratio) / Math.max(1, aspect()) });
    node.append(image, corner);
    stage().append(node);
    show(node, { x: 0.08 + 0.42 * (count % 2), y: 0.45 - 0.12 * Math.floor(count / 2) });
    button.setAttribute("aria-pressed", "true");
    choose(node);
    node.focus({ preventScroll: true });
  };
  const remove = (node) => {
    const button = root().querySelector(`.tray button[data-handle="${CSS.escape(node.dataset.handle)}"]`);
    button?.setAttribute("aria-pressed", "false");
    node.remove();
    choose(placed().at(-1));
    (chosen() || button)?.focus({ preventScroll: true });
  };
  const ACTIONS = {
    smaller: (node) => scale(node, 1 / 1.1),
    larger: (node) => scale(node, 1.1),
    mirror: (node) => node.classList.toggle("mirrored"),
    front: (node) => { node.nextElementSibling?.after(node); node.focus({ preventScroll: true }); },
    back: (node) => { node.previousElementSibling?.before(node); node.focus({ preventScroll: true }); },
    remove,
  };
  const KEYS = { "+": "larger", "=": "larger", "-": "smaller", m: "mirror", M: "mirror", PageUp: "front", PageDown: "back", Delete: "remove", Backspace: "remove" };
  const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#layout-canvas button");
    if (!button) return;
    if (button.dataset.act) { const node = chosen(); if (node) ACTIONS[button.dataset.act](node); return; }
    const node = placed().find((other) => other.dataset.handle === button.dataset.handle);
    if (node) remove(node); else add(button);
  });
  document.addEventListener("keydown", (event) => {
    const node = event.target.closest?.("#layout-canvas .placed");
    if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
    const [dx, dy] = ARROWS[event.key] || [];
    if (dx !== undefined) show(node, { x: read(node).x + dx, y: read(node).y + dy });
    else if (KEYS[event.key]) ACTIONS[KEYS[event.key]](node);
    else return;
    event.preventDefault();
  });
  document.addEventListener("focusin", (event) => {
    const node = event.target.closest?.("#layout-canvas .placed");
    if (node) choose(node);
  });
  document.addEventListener("pointerdown", (event) => {
    const node = event.target.closest?.("#layout-canvas .placed");
    if (!node || event.button > 0) return;
    choose(node);
    drag = { node, scales: event.target.tagName === "I", at: [event.clientX, event.clientY], item: read(node) };
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const { width, height } = stage().getBoundingClientRect(), { item } = drag;
    const dx = (event.clientX - drag.at[0]) / width, dy = (event.clientY - drag.at[1]) / height;
    if (drag.scales) show(drag.node, { w: Math.min(item.w + dx, 1 - item.x, (1 - item.y) * item.ratio / aspect()) });
    else show(drag.node, { x: item.x + dx, y: item.y + dy });
  });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => { drag = null; });
  document.addEventListener("dragstart", (event) => event.target.closest?.("#layout-canvas") && event.preventDefault());
  document.addEventListener("change", (event) => { // another shape of the images
    if (!event.target.closest?.("#shape") || !stage()) return;
    stage().style.aspectRatio = aspect();
    placed().forEach((node) => show(node));
  });
  window.layoutValues = () => JSON.stringify({
    objects: placed().map((node) => {
      const item = read(node), [w, h] = size(item);
      const box = [item.x, item.y, item.x + w, item.y + h].map((value) => +clamp(value, 0, 1).toFixed(4));
      return { handle: node.dataset.handle, box, flip: node.classList.contains("mirrored") };
    }),
  });
}
