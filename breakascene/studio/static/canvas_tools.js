// The tools on the canvas: a click includes or excludes, a drag draws a box, crops, paints or erases, two fingers zoom.
// Each finished gesture is sent to the studio as {tool, points: [[x, y], …] in pixels of the displayed image, size of
// that image, and for the brush its width as a share of the long side}.
const BRUSHES = ["paint", "erase"], BOXES = ["box", "crop", "rectangle"];
const CLICK_DISTANCE = 5; // pixels on the screen that a click may move
const tool = () => document.querySelector(`#${PREFIX}tool input:checked`)?.value;
const strokeWidth = () => Number(document.querySelector(`#${PREFIX}brush input[type=number]`)?.value || 3) / 100;
const pointers = new Map(); // that are down on the photo: id -> [x, y] on the screen
let gesture = null, spaceIsDown = false, ignoreClick = false;

const send = (points, more = {}) => sendMessage(`${PREFIX}canvas-gestures`, { tool: tool(), points, size: [view.width, view.height], ...more });
const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);

const dragBox = (start) => {
  const layer = drawLayer("box", "rect"), rect = layer.firstChild;
  let end = start;
  return {
    move(at) {
      end = at;
      const [x0, y0] = onCanvas(...start), [x1, y1] = onCanvas(...end);
      const values = { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0), height: Math.abs(y1 - y0) };
      for (const [name, value] of Object.entries(values)) rect.setAttribute(name, value);
    },
    finish() {
      removeWhenShown(layer);
      // A click marks one corner; the next click the other
      send(distance(start, end) > CLICK_DISTANCE ? [toPhoto(...start), toPhoto(...end)] : [toPhoto(...start)]);
    },
    cancel: () => layer.remove(),
  };
};

const paintStroke = (start) => {
  const layer = drawLayer(`stroke ${tool()}`, "polyline"), line = layer.firstChild, screen = [];
  line.setAttribute("stroke-width", strokeWidth() * photoPosition().scale * Math.max(view.width, view.height));
  const move = (at) => {
    screen.push(at);
    const points = screen.map((point) => onCanvas(...point).join(","));
    line.setAttribute("points", (points.length === 1 ? [...points, ...points] : points).join(" ")); // a line needs two
  };
  move(start);
  return {
    move,
    finish() {
      removeWhenShown(layer);
      send(screen.map((point) => toPhoto(...point)), { width: strokeWidth() });
    },
    cancel: () => layer.remove(),
  };
};

const pan = (start) => {
  let last = start;
  return {
    move(at) {
      panBy(at[0] - last[0], at[1] - last[1]);
      ignoreClick ||= distance(start, at) > CLICK_DISTANCE;
      last = at;
    },
    finish() {},
    cancel() {},
  };
};

const pinch = () => {
  const state = () => {
    const [a, b] = [...pointers.values()];
    return { center: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], span: distance(a, b) };
  };
  let last = state();
  return {
    move() {
      if (pointers.size < 2) return;
      const now = state();
      zoomBy(now.span / last.span, ...now.center);
      panBy(now.center[0] - last.center[0], now.center[1] - last.center[1]);
      last = now;
    },
    finish() {},
    cancel() {},
  };
};

const begin = (event, at) => {
  if (pointers.size > 1) {
    gesture?.cancel();
    return pinch();
  }
  if (event.button === 1 || spaceIsDown) return pan(at);
  if (BRUSHES.includes(tool())) return paintStroke(at);
  if (BOXES.includes(tool())) return dragBox(at); // from beside the photo, too: it begins at the edge
  return view.scale > 1 ? pan(at) : null;
};

document.addEventListener("pointerdown", (event) => {
  if (!event.target.matches?.(PHOTO) || event.button > 1) return;
  const at = [event.clientX, event.clientY];
  pointers.set(event.pointerId, at);
  ignoreClick = pointers.size > 1 || event.button === 1 || spaceIsDown;
  gesture = begin(event, at);
});

document.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  gesture?.move([event.clientX, event.clientY]);
});

const end = (event, how) => {
  if (!pointers.delete(event.pointerId)) return;
  if (gesture) gesture[how]();
  gesture = null;
};
document.addEventListener("pointerup", (event) => end(event, "finish"));
document.addEventListener("pointercancel", (event) => end(event, "cancel"));
// The page does not scroll under a finger that draws: touch-action settles it for most browsers, preventDefault for all.
const showTool = () => canvasRoot()?.classList.toggle("drawing", [...BRUSHES, ...BOXES].includes(tool()));
for (const name of ["change", "load"]) document.addEventListener(name, showTool, true);
document.addEventListener("touchmove", (event) => gesture && event.cancelable && event.preventDefault(), { passive: false });
document.addEventListener("dragstart", (event) => event.target.matches?.(PHOTO) && event.preventDefault());

document.addEventListener("click", (event) => {
  const at = [event.clientX, event.clientY];
  if (!event.target.matches?.(PHOTO) || ignoreClick || !isOnPhoto(...at)) return;
  if (BRUSHES.includes(tool()) || BOXES.includes(tool())) return;
  send([toPhoto(...at)]);
  const mark = drawLayer("click", "circle"), [x, y] = onCanvas(...at); // until the studio has drawn its own
  for (const [name, value] of Object.entries({ cx: x, cy: y, r: 7 })) mark.firstChild.setAttribute(name, value);
  removeWhenShown(mark);
});

// While the space bar is held down, a drag pans whatever the tool is
const KEYS_USED = "input, textarea, select, summary, [role=tab], button:not(:has(> .image-frame))";
const isTyping = (event) => event.target.matches?.(KEYS_USED);
document.addEventListener("keydown", (event) => {
  if (event.code !== "Space" || isTyping(event) || !photoImage()?.matches(":hover")) return;
  spaceIsDown = true;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => { if (event.code === "Space") spaceIsDown = false; });
