// Save a text as a file, or give it to the studio where it shows this page in a frame.
const saveText = (name, text) => {
  if (window.parent !== window) {
    window.parent.postMessage({ name, text }, "*");
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
