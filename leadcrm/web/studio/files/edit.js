// Status and assignment, changed where they stand. Somebody else's change in between is never overwritten.

import { api } from "./api.js";
import { h, notice, pill } from "./dom.js";

/** Values that were met so far, to be offered again: both are free text. */
export const known = { status: new Set(["new", "called", "no answer", "won", "lost"]), assignedTo: new Set() };

export function learn(leads) {
  for (const lead of leads) {
    known.status.add(lead.status);
    if (lead.assignedTo) known.assignedTo.add(lead.assignedTo);
  }
}

export function suggestions(name) {
  const id = `known-${name}`;
  const options = [...known[name]].slice(0, 50).map((value) => h("option", { value }));
  document.getElementById(id)?.remove();
  document.body.append(h("datalist", { id }, options));
  return id;
}

/** Change a lead and return it as it is now, or null where somebody was faster. */
export async function change(lead, changes) {
  try {
    const changed = await api.change(lead, changes);
    learn([changed]);
    notice("Saved");
    return changed;
  } catch (error) {
    if (error.status === 412) {
      notice("Somebody else has changed this lead meanwhile. Here is how it is now.", "error");
      return error.document.lead;
    }
    notice(error.message, "error");
    return null;
  }
}

/** A button that shows a value and becomes a field in its place. */
export function editable(lead, name, onChanged) {
  const value = lead[name];
  const label = name === "status" ? "Status" : "Assigned to";
  const shown = name === "status" ? pill(value) : value ? value : h("span", { class: "nobody" }, "nobody");
  const button = h("button", {
    class: "edit", type: "button", "data-control": name, "aria-label": `${label}: ${value || "nobody"}. Edit`,
    onclick: (event) => {
      event.stopPropagation();
      begin();
    },
  }, shown);

  function begin() {
    let isOver = false;
    const end = (changed) => {
      if (isOver) return;
      isOver = true;
      input.replaceWith(button);
      button.focus({ preventScroll: true });
      if (changed) onChanged(changed);
      // The list was not drawn meanwhile.
      button.dispatchEvent(new CustomEvent("edited", { bubbles: true }));
    };
    const save = async () => {
      // A field that is disabled loses the focus, which would save once more.
      if (isOver || input.disabled) return undefined;
      const text = input.value.trim();
      if (text === (value || "") || (name === "status" && !text)) return end(null);
      input.disabled = true;
      return end(await change(lead, { [name]: text || null }));
    };
    const input = h("input", {
      class: "editing", value: value || "", "aria-label": label, list: suggestions(name), maxlength: 200,
      onkeydown: (event) => {
        event.stopPropagation();
        if (event.key === "Enter") save();
        if (event.key === "Escape") end(null);
      },
      onblur: save,
      onclick: (event) => event.stopPropagation(),
    });
    button.replaceWith(input);
    input.focus();
    input.select();
  }
  return button;
}
