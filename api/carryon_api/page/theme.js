/** Light or dark as chosen here before, set before anything is drawn; without a choice the system decides. */
(() => {
  const chosen = localStorage.getItem("carryon-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
