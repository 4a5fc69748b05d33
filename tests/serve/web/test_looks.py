"""How the pages look and are reached: contrast, widths, keyboard, motion."""

from __future__ import annotations

from typing import Any

import pytest

from .screen import PAGES, Open, complete

pytestmark = pytest.mark.xdist_group("browser")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_read_and_reached_by_everybody(opened: Open, path: str) -> None:
    page = opened(path, refused=True, reduced_motion="reduce")  # colours change at once
    if "/series/" in path:
        complete(page)
    check_keyboard(page)
    for scheme, background in (("light", "rgb(244, 246, 248)"), ("dark", "rgb(15, 20, 24)")):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == background
        assert page.evaluate(CONTRAST) == [], scheme
    for width in (360, 768, 3840):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def check_keyboard(page: Any) -> None:
    """Go through a page by the tabulator: everything is reached, shows that it is, and has a name."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    controls = page.locator("a[href]:visible, button:visible, input:visible, canvas, [tabindex='0']:visible")
    reached = set()
    for _ in range(controls.count() + 20):
        index, outline, tag = page.evaluate(FOCUS)
        reached.add(index)
        assert outline != "none" or tag in ("BODY", "HTML"), (index, tag)
        page.keyboard.press("Tab")
    assert len(reached) >= controls.count() * 0.8  # radio buttons are one stop
    assert page.evaluate(UNNAMED) == []


FOCUS = """() => {
  const one = document.activeElement;
  return [[...document.querySelectorAll("*")].indexOf(one), getComputedStyle(one).outlineStyle, one.tagName];
}"""
UNNAMED = """() => [...document.querySelectorAll("input:not([hidden]), button, a, canvas, img")].filter((one) =>
  one.checkVisibility() && !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim()
    || one.hasAttribute("alt") || one.closest("[aria-hidden]"))).map((one) => one.outerHTML)"""
# Texts whose contrast with what lies behind them is below 4.5 (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const level = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, datalist")) continue;
    const [a, b] = [level(parse(getComputedStyle(element).color)), level(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName} ${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


def test_motion_is_reduced_where_it_is_asked_for(opened: Open) -> None:
    page = opened("/", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
