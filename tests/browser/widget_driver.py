"""A widget on a page, and what a learner does with it by keyboard and by mouse."""

import base64
import re
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe

from dlkit.lab.text import ROOT

SCREENSHOTS = ROOT.parent / "build" / "screenshots"
# Some frames without an open message: views of new widgets are made after their message.
ALL_ANSWERED = """() => {
  window.quiet = window.unanswered.size ? 0 : (window.quiet || 0) + 1;
  return window.quiet > 3 && [window.quiet = 0];
}"""


def shoot(element, name):
    """Keep a picture of an element; nothing of it is compared, people look at it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    element.screenshot(path=SCREENSHOTS / f"{name}.png")


class Widget:
    """Controls, a line of text and a picture inside one cell."""

    def __init__(self, cell):
        self.cell, self.page = cell, cell.page
        self.line = cell.locator(".widget-html-content").first
        self.image = cell.locator("img.widget-image").first

    def text(self):
        return self.line.inner_text()

    def picture(self):
        """The PNG bytes behind the picture, as the page has them."""
        script = """async image => {
          const answer = await fetch(image.src);
          const bytes = new Uint8Array(await answer.arrayBuffer());
          return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
        }"""
        return base64.b64decode(self.image.evaluate(script))

    def settle(self):
        """Wait until the kernel has answered all that the widgets told it."""
        self.page.wait_for_function(ALL_ANSWERED)

    @contextmanager
    def changing(self, text=True):
        """Do something in a `with`, by which picture and text must become others."""
        before = self.text(), self.image.get_attribute("src")
        yield
        self.settle()
        assert self.image.get_attribute("src") != before[1], "the picture is as it was"
        assert not text or self.text() != before[0]

    def wait_for(self, words, seconds=60):
        """Return the line of text as soon as it has what a pattern describes."""
        self.page.wait_for_function(
            "([line, words]) => new RegExp(words).test(line.innerText)",
            arg=[self.line.element_handle(), words],
            timeout=1000 * seconds,
        )
        return self.text()

    def handle(self, number):
        return self.cell.locator(".noUi-handle[role=slider]").nth(number)

    def box(self, number):
        return self.cell.locator("input[type=checkbox]").nth(number)

    def button(self, label):
        # Not by its name: an icon counts as a letter of it.
        return self.cell.locator("button.jupyter-button", has_text=re.compile(f"^{label}$"))

    def press(self, element, key):
        """Give an element the focus, as the tab key does, and press a key."""
        element.focus()
        self.page.keyboard.press(key)

    def drag(self, handle, pixels):
        """Take the handle of a slider by mouse and let it go so many pixels to the right."""
        handle.scroll_into_view_if_needed()
        place = handle.bounding_box()
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + pixels, y)
        self.page.mouse.up()

    def tab_to(self, element, most=60):
        """Press the tab key until an element has the focus, as somebody without a mouse does."""
        has_focus = "element => element === document.activeElement"
        while most and not element.evaluate(has_focus):
            self.page.keyboard.press("Tab")
            most -= 1
        assert element.evaluate(has_focus), "the tab key does not lead there"

    def judge(self, name):
        """Keep a picture of what is shown, and have it judged by axe-core."""
        shoot(self.cell, name)
        assert self.serious_findings() == []

    def serious_findings(self):
        """What axe-core finds in the output that keeps people from using it, in words."""
        area = self.cell.locator(".jp-Cell-outputArea").element_handle()
        area.evaluate("area => { area.id = 'judged'; }")
        found = Axe().run(self.page, context="#judged").response["violations"]
        area.evaluate("area => { area.removeAttribute('id'); }")
        return [
            "\n".join(
                [f"{one['id']} ({one['impact']}): {one['help']}"]
                + [f"    {node['html']}\n    {node['failureSummary']}" for node in one["nodes"]]
            )
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
