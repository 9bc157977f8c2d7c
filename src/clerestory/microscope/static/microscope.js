// The number beside the slider, before anything is drawn.
document.addEventListener("input", (event) => {
  const output = event.target.id === "level" && document.getElementById("strength");
  if (output) output.value = event.target.value;
});
