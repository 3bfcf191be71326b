// Count the answers, and save them as a file. Reloading keeps them, as browsers keep the state of a form.
(() => {
  const form = document.getElementById("vote"), voter = document.getElementById("voter");
  const save = document.getElementById("save"), state = document.getElementById("state");
  const questions = [...form.querySelectorAll(".question")];
  const answers = () => Object.fromEntries(questions.flatMap((question) => {
    const chosen = question.querySelector("input:checked");
    return chosen ? [[question.dataset.id, chosen.value]] : [];
  }));
  const show = () => {
    const n = Object.keys(answers()).length;
    state.textContent = `${n} of ${questions.length} answered`;
    save.disabled = !n || !voter.value.trim();
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  save.addEventListener("click", () => {
    const votes = { page: form.dataset.page, voter: voter.value.trim(), answers: answers() };
    saveText(`votes-${votes.voter.replace(/[^\p{L}\p{N}]+/gu, "-")}.json`, JSON.stringify(votes));
    state.textContent = window.parent === window ? "Saved. Send the file back." : "Saved.";
  });
  show();
})();
