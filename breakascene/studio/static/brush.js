// The brush on the canvas: while a brush is the tool, a drag leaves a trace over the photo; where it went is written
// into #stroke when it ends, as JSON: {tool, points: [[x, y], …] in pixels of the picture, width as a share, time}.
() => {
  const SVG = "http://www.w3.org/2000/svg";
  const tool = () => document.querySelector("#tool input:checked")?.value;
  const brush = () => ["paint", "erase"].includes(tool());
  const width = () => Number(document.querySelector("#brush input[type=number]")?.value || 3) / 100;
  let image, points, trace;

  // The picture is fitted into its element: what is shown of it, and how much smaller than it is.
  const shown = () => {
    const box = image.getBoundingClientRect();
    const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
    const left = box.left + (box.width - image.naturalWidth * scale) / 2;
    return { left, top: box.top + (box.height - image.naturalHeight * scale) / 2, scale };
  };

  const add = (event) => {
    const { left, top, scale } = shown();
    points.push([(event.clientX - left) / scale, (event.clientY - top) / scale].map(Math.round));
    const line = trace.firstChild, seen = points.map(([x, y]) => `${left + x * scale},${top + y * scale}`);
    if (seen.length === 1) seen.push(seen[0]);
    line.setAttribute("points", seen.join(" "));
    line.setAttribute("stroke-width", width() * scale * Math.max(image.naturalWidth, image.naturalHeight));
  };

  const begin = (event) => {
    if (!event.target.matches("#canvas img") || !brush() || event.button) return;
    event.preventDefault();
    image = event.target;
    points = [];
    trace = document.createElementNS(SVG, "svg");
    trace.setAttribute("class", `stroke ${tool()}`);
    trace.append(document.createElementNS(SVG, "polyline"));
    document.body.append(trace);
    add(event);
  };

  const end = () => {
    if (!points) return;
    const box = document.querySelector("#stroke textarea");
    const told = { tool: tool(), points, width: width(), time: Date.now() };
    points = null;
    const gone = trace;
    const remove = () => gone.remove();
    image.addEventListener("load", remove, { once: true });
    setTimeout(remove, 3000); // the answer was a notice
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, JSON.stringify(told));
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  document.addEventListener("pointerdown", begin);
  document.addEventListener("dragstart", (event) => event.target.matches?.("#canvas img") && brush() && event.preventDefault());
  document.addEventListener("pointermove", (event) => points && add(event));
  document.addEventListener("pointerup", end);
  document.addEventListener("pointercancel", end);
  // A finger that paints must not scroll the page.
  document.addEventListener("change", (event) => {
    if (event.target.matches("#tool input")) document.querySelector("#canvas").classList.toggle("brush", brush());
  });
}
