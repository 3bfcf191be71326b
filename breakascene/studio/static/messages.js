// Messages from the page's scripts to the studio. sendMessage queues a message and presses the hidden button with the id
// `name`; the button's event takes all messages of its queue (see select.MESSAGES_JS). Writing into a hidden text field
// instead would lose a message now and then, because Gradio writes its own value back into a field at any time.
() => {
  const queues = {};
  window.sendMessage = (name, message) => {
    (queues[name] ||= []).push(message);
    document.getElementById(name).click();
  };
  window.takeMessages = (name) => JSON.stringify((queues[name] || []).splice(0));
}
