// What JupyterLab and ipywidgets do not tell a screen reader, told to it:
//
// - A slider has its name beside it, where nobody looks: without this it is "slider, 8".
// - A picture among the outputs has its caption in the output's metadata, or at least its text.
// - The picture of a widget is described by the line of text above it, and may be passed over.
//
// The file has the form of a prebuilt extension of JupyterLab, small enough to need no build.

(() => {
  "use strict";

  function nameOf(slider) {
    return slider.closest(".jupyter-widgets")?.querySelector(".widget-label")?.textContent;
  }

  function captionOf(picture, shell) {
    for (const panel of shell.widgets("main"))
      for (const cell of panel.content?.widgets ?? []) {
        const child = picture.closest(".jp-OutputArea-child");
        if (!child || !cell.model.outputs || !cell.node.contains(child)) continue;
        const place = [...child.parentElement.children].indexOf(child);
        const output = cell.model.outputs.get(place);
        return output?.metadata?.["image/png"]?.alt ?? output?.data?.["text/plain"];
      }
  }

  function nameAll(root, shell) {
    for (const slider of root.querySelectorAll(".noUi-handle[role=slider]")) {
      const name = nameOf(slider);
      if (name) slider.setAttribute("aria-label", name);
    }
    for (const picture of root.querySelectorAll(".jp-RenderedImage img:not([alt])")) {
      const caption = captionOf(picture, shell);
      if (caption) picture.alt = caption;
    }
    for (const picture of root.querySelectorAll("img.widget-image:not([alt])")) picture.alt = "";
  }

  function activate(app) {
    new MutationObserver(changes => {
      for (const { addedNodes, target } of changes)
        if (addedNodes.length) nameAll(target, app.shell);
    }).observe(document.body, { childList: true, subtree: true });
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.dlkit = {
    init() {},
    async get() {
      const plugin = { id: "dlkit:names", autoStart: true, activate };
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
