// A file that is dropped beside a field would replace the page. In step 3 it goes to the field that restores the settings
// of an image instead, elsewhere nothing happens.
() => {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files") && !event.defaultPrevented;
  const field = () => document.querySelector("#restore-settings input[type=file]");
  const restore = (files, attempts = 20) => {
    if (!field()) { // the section is closed
      if (attempts === 20) document.querySelector("#generate-advanced > button")?.click();
      if (attempts) setTimeout(() => restore(files, attempts - 1), 100);
      return;
    }
    field().files = files;
    field().dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    const dropped = new DataTransfer(); // that of the event is empty after it
    for (const file of event.dataTransfer.files) dropped.items.add(file);
    if (dropped.files.length && document.querySelector("#prompt")?.checkVisibility()) restore(dropped.files);
  });
}
