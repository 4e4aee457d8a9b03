// The panel below a button: the button, Escape and a click elsewhere close it.

/** Open a panel in the menu of a button, and return what opens and closes it. `onOpen` is called each time it opens. */
export function menuPanel(menu, opener, panel, onOpen = () => {}) {
	function toggle(isOpen) {
		panel.hidden = !isOpen;
		opener.setAttribute("aria-expanded", String(isOpen));
		if (isOpen) onOpen();
	}

	opener.addEventListener("click", () => toggle(panel.hidden));
	menu.addEventListener("keydown", (event) => {
		if (event.key !== "Escape" || panel.hidden) return;
		event.stopPropagation();
		toggle(false);
		opener.focus();
	});
	document.addEventListener("click", ({ target }) => menu.contains(target) || !target.isConnected || toggle(false));
	menu.append(panel);
	toggle(true);
	return toggle;
}
