// Messages from the page's scripts to the studio. sendMessage queues a message and presses the hidden button with the id
// `name`; the button's event takes all messages of its queue (see events.MESSAGES_JS). While one is being handled, further
// messages wait for the next, so that quick clicks neither overtake each other nor fill the studio's queue. Writing into a
// hidden text field instead would lose a message now and then, because Gradio writes its own value back into a field at
// any time.
() => {
  const PATIENCE = 15000; // ms until an event whose end was not reported, as when the studio was restarted, is given up
  const queues = {}, started = {};
  const press = (name) => document.getElementById(name)?.click();
  window.sendMessage = (name, message) => {
    (queues[name] ||= []).push(message);
    if (Date.now() - (started[name] || 0) > PATIENCE) press(name);
  };
  window.takeMessages = (name) => {
    started[name] = Date.now();
    return JSON.stringify((queues[name] || []).splice(0));
  };
  window.messagesHandled = (name) => {
    started[name] = 0;
    if (queues[name]?.length) press(name);
  };
}
