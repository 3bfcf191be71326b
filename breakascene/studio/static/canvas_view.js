// A canvas: where the photo is on the screen, zoom and pan, and a layer for what is drawn over the photo. The scripts of a
// canvas are loaded once for each (select.py), with the PREFIX of its ids.
const PHOTO = `#${PREFIX}canvas img`;
const SVG = "http://www.w3.org/2000/svg";
const MAX_ZOOM = 8;
const canvasRoot = () => document.querySelector(`#${PREFIX}canvas`);
const photoImage = () => document.querySelector(PHOTO);
const view = { scale: 1, x: 0, y: 0, width: 1, height: 1 }; // the size is that of the last image, in its own pixels
const finished = new Set(); // layers that stay until the canvas shows their effect

// The image is scaled to fit its element (object-fit: contain): where it starts on the screen, and its scale.
const photoPosition = () => {
  const box = photoImage().getBoundingClientRect(), { width, height } = view;
  const scale = Math.min(box.width / width, box.height / height);
  return { left: box.left + (box.width - width * scale) / 2, top: box.top + (box.height - height * scale) / 2, scale };
};

// A position on the screen in pixels of the image; those outside are moved to its edge.
const toPhoto = (x, y) => {
  const { left, top, scale } = photoPosition();
  const bounded = (value, size) => Math.min(Math.max(Math.floor(value), 0), size - 1);
  return [bounded((x - left) / scale, view.width), bounded((y - top) / scale, view.height)];
};

const isOnPhoto = (x, y) => {
  const { left, top, scale } = photoPosition();
  return x >= left && y >= top && x < left + view.width * scale && y < top + view.height * scale;
};

// An SVG over the canvas with one shape in it; its coordinates are pixels from the canvas's corner.
const drawLayer = (name, shape) => {
  const layer = document.createElementNS(SVG, "svg");
  layer.setAttribute("class", `layer ${name}`);
  layer.append(document.createElementNS(SVG, shape));
  canvasRoot().append(layer);
  return layer;
};

const onCanvas = (x, y) => {
  const { left, top } = canvasRoot().getBoundingClientRect();
  return [x - left, y - top];
};

const removeWhenShown = (layer) => {
  finished.add(layer);
  setTimeout(() => layer.remove(), 5000); // or the gesture was refused, and the canvas stays the same
};

const showView = () => {
  const image = photoImage();
  if (!image) return;
  const bounded = (value, size) => Math.min(0, Math.max(value, size * (1 - view.scale)));
  view.x = bounded(view.x, image.offsetWidth);
  view.y = bounded(view.y, image.offsetHeight);
  const root = canvasRoot();
  root.style.setProperty("--zoom", view.scale);
  root.style.setProperty("--pan-x", `${view.x}px`);
  root.style.setProperty("--pan-y", `${view.y}px`);
  root.classList.toggle("zoomed", view.scale > 1);
};

const panBy = (dx, dy) => {
  view.x += dx;
  view.y += dy;
  showView();
};

// Zoom by a factor; what is at (x, y) on the screen stays there.
const zoomBy = (factor, x, y) => {
  const box = photoImage().getBoundingClientRect();
  const scale = Math.min(Math.max(view.scale * factor, 1), MAX_ZOOM);
  view.x += (x - box.left) * (1 - scale / view.scale);
  view.y += (y - box.top) * (1 - scale / view.scale);
  view.scale = scale;
  showView();
};

const zoomAtCenter = (factor) => {
  const box = canvasRoot().getBoundingClientRect();
  zoomBy(factor, box.left + box.width / 2, box.top + box.height / 2);
};

const addZoomButtons = () => {
  const root = canvasRoot();
  if (!root || root.querySelector(".zoom")) return;
  const bar = document.createElement("div");
  bar.className = "zoom";
  for (const [sign, factor] of [["+", 1.5], ["−", 1 / 1.5], ["⤢", 0]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    button.ariaLabel = button.title = LABELS[sign]; // filled in by select.py
    button.addEventListener("click", () => zoomAtCenter(factor));
    bar.append(button);
  }
  root.append(bar);
};
// While the next image loads, clicks still have the size of the last one, and its place is kept (canvas.css).
document.addEventListener("load", ({ target }) => {
  if (!target.matches?.(PHOTO)) return;
  const sameShape = target.naturalWidth === view.width && target.naturalHeight === view.height;
  view.width = target.naturalWidth;
  view.height = target.naturalHeight;
  canvasRoot().style.setProperty("--ratio", `${view.width} / ${view.height}`);
  finished.forEach((layer) => layer.remove());
  finished.clear();
  if (!sameShape) view.scale = 1;
  showView();
}, true);

// The canvas comes and goes with the photo
new MutationObserver(addZoomButtons).observe(document.body, { childList: true, subtree: true });
addZoomButtons();
addEventListener("resize", showView);

document.addEventListener("wheel", (event) => {
  if (!event.target.matches?.(PHOTO)) return;
  if (event.ctrlKey) zoomBy(Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  else if (view.scale > 1) panBy(-event.deltaX, -event.deltaY);
  else return; // the page scrolls
  event.preventDefault();
}, { passive: false });
