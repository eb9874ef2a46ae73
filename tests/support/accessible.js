// Basics of accessibility, checked in the page: every field has a name, every visible text enough contrast (WCAG 1.4.3),
// nothing is wider than the window. Gives a list of findings. What is disabled may be faint.
() => {
  const found = [];
  const visible = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const colour = (text) => {
    const parts = text.match(/[\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const over = (top, alpha, below) => top.map((value, place) => alpha * value + (1 - alpha) * below[place]);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const chain = (element) => {
    const line = [];
    for (let one = element; one; one = one.parentElement) line.push(one);
    return line;
  };
  const background = (element) =>
    chain(element)
      .reverse()
      .map((one) => colour(getComputedStyle(one).backgroundColor))
      .reduce((below, { rgb, alpha }) => over(rgb, alpha, below), [255, 255, 255]);

  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")) {
    if (!visible(field)) continue;
    const named =
      field.labels?.length || (field.type === "submit" && field.value) || field.ariaLabel || field.title || field.textContent.trim() || field.getAttribute("aria-labelledby") || field.querySelector("img[alt]");
    if (!named) found.push(`no name: ${field.outerHTML.slice(0, 120)}`);
  }

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || !visible(element) || element.closest("script, style, noscript, option")) continue;
    const disabled = element.closest(":disabled, .berth-card-refused .berth-card-name, .berth-card-refused .berth-card-facts, .berth-card-refused .berth-card-description, .berth-card-refused .berth-kind");
    if (disabled) continue;
    const style = getComputedStyle(element);
    const behind = background(element);
    const { rgb, alpha } = colour(style.color);
    const faded = chain(element).reduce((all, one) => all * Number(getComputedStyle(one).opacity), alpha);
    const [light, dark] = [luminance(over(rgb, faded, behind)), luminance(behind)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${text.data.trim().slice(0, 60)}`);
  }

  const wide = document.documentElement.scrollWidth - window.innerWidth;
  if (wide > 0) found.push(`wider than the window by ${wide} pixels`);
  return found;
};
