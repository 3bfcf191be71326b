// Show the photos with their masks, correct masks with a brush, and save the decisions as COCO run lengths.
(() => {
  const COLORS = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00", "#999999"];
  const photos = JSON.parse(document.getElementById("data").textContent);
  const element = (kind, values = {}, ...children) => {
    const made = Object.assign(document.createElement(kind), values);
    made.append(...children);
    return made;
  };

  // Run lengths go down the columns, and begin with the pixels outside the mask
  const decode = (counts, [height, width]) => {
    const mask = new Uint8Array(width * height);
    let at = 0, value = 0;
    for (const count of counts) {
      for (let i = 0; i < count; i++, at++) mask[(at % height) * width + Math.floor(at / height)] = value;
      value = 1 - value;
    }
    return mask;
  };
  const encode = (mask, [height, width]) => {
    const counts = [];
    let value = 0, count = 0;
    for (let x = 0; x < width; x++) for (let y = 0; y < height; y++) {
      if (mask[y * width + x] !== value) { counts.push(count); count = 0; value = 1 - value; }
      count++;
    }
    return [...counts, count];
  };

  const build = (photo) => {
    const [height, width] = photo.size;
    const canvas = element("canvas", { width, height });
    const context = canvas.getContext("2d");
    photo.objects.forEach((object) => Object.assign(object, { mask: decode(object.counts, photo.size), state: "" }));
    photo.active = 0;
    const draw = () => {
      const image = context.createImageData(width, height);
      photo.objects.forEach((object, index) => {
        if (object.state === "reject") return;
        const color = [1, 3, 5].map((at) => parseInt(COLORS[index % 8].slice(at, at + 2), 16));
        const edge = (i) => [i % width > 0 && i - 1, i % width < width - 1 && i + 1, i - width, i + width].some(
          (other) => other !== false && object.mask[other] === 0);
        object.mask.forEach((inside, i) => {
          if (!inside) return;
          const active = index === photo.active;
          image.data.set(active && edge(i) ? [255, 255, 255, 255] : [...color, active ? 170 : 110], 4 * i);
        });
      });
      context.putImageData(image, 0, 0);
    };
    const paint = (event) => {
      const box = canvas.getBoundingClientRect(), object = photo.objects[photo.active];
      const [cx, cy] = [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * height / box.height];
      const radius = Number(size.value), value = eraser.checked ? 0 : 1;
      for (let y = Math.max(0, Math.ceil(cy - radius)); y <= Math.min(height - 1, cy + radius); y++)
        for (let x = Math.max(0, Math.ceil(cx - radius)); x <= Math.min(width - 1, cx + radius); x++)
          if ((x - cx) ** 2 + (y - cy) ** 2 <= radius ** 2) object.mask[y * width + x] = value;
      draw();
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); paint(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) paint(event); });
    const size = element("input", { type: "range", min: 2, max: 60, value: 12 });
    const eraser = element("input", { type: "checkbox" });
    const rows = photo.objects.map((object, index) => {
      const name = element("input", { type: "text", value: object.name, maxLength: 60, oninput: () => { object.name = name.value; } });
      name.setAttribute("aria-label", "Name");
      name.addEventListener("focus", () => { photo.active = index; draw(); });
      const choice = (state, label) => element("label", {}, element("input", {
        type: "radio", name: `${photo.photo}-${index}`, value: state,
        onchange: () => { object.state = state; photo.active = index; draw(); show(); },
      }), ` ${label}`);
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = COLORS[index % 8];
      return element("div", { className: "choices" }, swatch, name, choice("accept", "Accept"), choice("reject", "Reject"));
    });
    draw();
    const stage = element("div", { className: "stage" }, element("img", { src: photo.image, alt: `The photo ${photo.photo}` }), canvas);
    const tools = element("div", { className: "choices" }, element("label", {}, "Brush ", size), element("label", {}, eraser, " Eraser"));
    return element("fieldset", { className: "question", id: `photo-${photo.photo}` },
      element("legend", { textContent: photo.photo }), stage, tools, ...rows);
  };

  const save = document.getElementById("save"), status = document.getElementById("state");
  const show = () => {
    const objects = photos.flatMap((photo) => photo.objects);
    const open = objects.filter((object) => !object.state).length;
    status.textContent = open ? `${open} of ${objects.length} masks to decide` : "All decided";
    save.disabled = open > 0;
  };
  save.addEventListener("click", () => {
    const decided = photos.map((photo) => [photo.photo, photo.objects.filter((object) => object.state === "accept").map(
      (object) => ({ name: object.name.trim() || "object", mask: { size: photo.size, counts: encode(object.mask, photo.size) } }))]);
    const hashes = photos.map((photo) => [photo.photo, photo.hash]);
    saveText("review.json", JSON.stringify({ photos: Object.fromEntries(decided), hashes: Object.fromEntries(hashes) }));
    status.textContent = "Saved.";
  });
  document.getElementById("photos").append(...photos.map(build));
  show();
})();
