// The canvas of step 1: where the photo is on the screen, zoom and pan, and a layer for what is drawn over the photo.
const SVG = "http://www.w3.org/2000/svg";
const MAX_ZOOM = 8;
const canvasRoot = () => document.querySelector("#canvas");
const photoImage = () => document.querySelector("#canvas img");
const view = { scale: 1, x: 0, y: 0, source: "" };

// The image is scaled to fit its element (object-fit: contain): where it starts on the screen, and its scale.
const photoPosition = () => {
  const image = photoImage(), box = image.getBoundingClientRect();
  const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const left = box.left + (box.width - image.naturalWidth * scale) / 2;
  return { left, top: box.top + (box.height - image.naturalHeight * scale) / 2, scale };
};

// A position on the screen in pixels of the image; those outside are moved to its edge.
const toPhoto = (x, y) => {
  const image = photoImage(), { left, top, scale } = photoPosition();
  const bounded = (value, size) => Math.min(Math.max(Math.floor(value), 0), size - 1);
  return [bounded((x - left) / scale, image.naturalWidth), bounded((y - top) / scale, image.naturalHeight)];
};

const isOnPhoto = (x, y) => {
  const image = photoImage(), { left, top, scale } = photoPosition();
  return x >= left && y >= top && x < left + image.naturalWidth * scale && y < top + image.naturalHeight * scale;
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

// A finished shape stays until the canvas shows its effect, or until it is clear that there is none.
const removeWhenShown = (layer) => {
  const remove = () => layer.remove();
  photoImage()?.addEventListener("load", remove, { once: true });
  setTimeout(remove, 5000);
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
// The canvas comes and goes with the photo
new MutationObserver(addZoomButtons).observe(document.body, { childList: true, subtree: true });
addZoomButtons();
addEventListener("resize", showView);

document.addEventListener("wheel", (event) => {
  if (!event.target.matches?.("#canvas img")) return;
  if (event.ctrlKey) zoomBy(Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  else if (view.scale > 1) panBy(-event.deltaX, -event.deltaY);
  else return; // the page scrolls
  event.preventDefault();
}, { passive: false });
