// The number beside the slider, before anything is drawn.
document.addEventListener("input", (event) => {
  const shown = event.target.id === "level" && document.getElementById("strength");
  if (shown) shown.value = event.target.value;
});
