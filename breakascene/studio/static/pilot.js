// The pilot's pages are shown in frames that cannot reach the studio: they send what a person has entered as a message.
// It is put into the file field of the section, as if the person had saved the file and dropped it there.
() => {
  window.addEventListener("message", (event) => {
    const frame = [...document.querySelectorAll("#pilot iframe")].find((one) => one.contentWindow === event.source);
    const section = frame?.closest('[id^="pilot-"][id$="-page"]')?.id.replace(/-page$/, "");
    const input = document.querySelector(`#${section}-file input[type=file]`);
    if (!input || typeof event.data?.text !== "string") return;
    const files = new DataTransfer();
    files.items.add(new File([event.data.text], String(event.data.name), { type: "application/json" }));
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
}
