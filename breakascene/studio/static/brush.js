// Brush and eraser on the canvas. A drag draws a trace over the photo; when it ends, the stroke is sent to the studio:
// {tool, points: [[x, y], …] in pixels of the displayed image, width as a share of its long side}.
() => {
  const SVG = "http://www.w3.org/2000/svg";
  const tool = () => document.querySelector("#tool input:checked")?.value;
  const brushActive = () => ["paint", "erase"].includes(tool());
  const strokeWidth = () => Number(document.querySelector("#brush input[type=number]")?.value || 3) / 100;
  let image, points, trace;

  // The image is scaled to fit its element (object-fit: contain): where it starts on the screen, and its scale.
  const imagePosition = () => {
    const box = image.getBoundingClientRect();
    const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
    const left = box.left + (box.width - image.naturalWidth * scale) / 2;
    return { left, top: box.top + (box.height - image.naturalHeight * scale) / 2, scale };
  };

  const addPoint = (event) => {
    const { left, top, scale } = imagePosition();
    points.push([(event.clientX - left) / scale, (event.clientY - top) / scale].map(Math.round));
    const line = trace.firstChild, onScreen = points.map(([x, y]) => `${left + x * scale},${top + y * scale}`);
    if (onScreen.length === 1) onScreen.push(onScreen[0]); // a polyline needs two points
    line.setAttribute("points", onScreen.join(" "));
    line.setAttribute("stroke-width", strokeWidth() * scale * Math.max(image.naturalWidth, image.naturalHeight));
  };

  const startStroke = (event) => {
    if (!event.target.matches("#canvas img") || !brushActive() || event.button) return;
    event.preventDefault();
    image = event.target;
    points = [];
    trace = document.createElementNS(SVG, "svg");
    trace.setAttribute("class", `stroke ${tool()}`);
    trace.append(document.createElementNS(SVG, "polyline"));
    document.body.append(trace);
    addPoint(event);
  };

  const endStroke = () => {
    if (!points) return;
    const stroke = { tool: tool(), points, width: strokeWidth() };
    points = null;
    const finished = trace;
    const remove = () => finished.remove();
    image.addEventListener("load", remove, { once: true }); // the canvas shows the new mask
    setTimeout(remove, 3000); // or the stroke was refused, and the canvas stays the same
    sendMessage("strokes", stroke);
  };

  document.addEventListener("pointerdown", startStroke);
  document.addEventListener("dragstart", (event) => event.target.matches?.("#canvas img") && brushActive() && event.preventDefault());
  document.addEventListener("pointermove", (event) => points && addPoint(event));
  document.addEventListener("pointerup", endStroke);
  document.addEventListener("pointercancel", endStroke);
  // Touch: drawing must not scroll the page (see #canvas.brush in studio.css)
  document.addEventListener("change", (event) => {
    if (event.target.matches("#tool input")) document.querySelector("#canvas").classList.toggle("brush", brushActive());
  });
}
