"""What people do in the inspector, in a real Chromium, through the real queue."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.web_api.stack import KINDS, Shop, event

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.web_ui.browser import Tab

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def lamp_fan(shop: Shop) -> str:
    now = time.time()
    shop.send(
        event("fan of lamps", "tea-1", "view_item", timestamp=now - 7300),
        event("fan of lamps", "lamps-1", "add_to_cart", timestamp=now - 730),
    )
    shop.wait_for("fan of lamps", 2)
    return "fan of lamps"


def ui(shop: Shop, path: str = "") -> str:
    return f"{shop.url}/_sidecar/ui/{path}"


def kinds(tab: Tab, heading: str) -> list[str]:
    section = tab.page.get_by_role("region", name=re.compile(heading))
    return [one.split()[0] for one in section.locator("li .what a").all_inner_texts()]


def test_a_shopper_is_found_and_explained(shop: Shop, tab: Tab, lamp_fan: str) -> None:
    tab.page.goto(ui(shop))
    tab.page.get_by_label("Shopper").fill(lamp_fan)
    tab.page.get_by_role("button", name="Find").click()
    tab.page.get_by_role("heading", name=f"Shopper {lamp_fan}").wait_for()
    entries = tab.page.locator(".timeline li").all_inner_texts()
    assert "added to the cart 12 minutes ago: 9" in entries[0]
    assert "viewed 2 hours ago: " in entries[1]


def test_the_overview_shows_who_was_active_and_whether_all_is_well(
    shop: Shop, tab: Tab, lamp_fan: str
) -> None:
    tab.page.goto(ui(shop))
    for heading in ("Health", "Weights", "Event flow", "Trending"):
        assert tab.page.get_by_role("region", name=heading).is_visible()
    assert "ok" in tab.page.get_by_role("region", name="Health").inner_text()
    assert "events waiting" in tab.page.get_by_role("region", name="Event flow").inner_text()
    assert tab.page.locator(".state").inner_text() == "All is well: every check passed."
    active = tab.page.get_by_role("region", name="Active lately").locator("li")
    told = active.filter(has_text=lamp_fan).inner_text()
    assert "added to the cart lamps <b>number</b> 1 12 minutes ago" in " ".join(told.split())
    assert "2 interactions" in told
    tab.page.get_by_role("link", name=lamp_fan).click()
    tab.page.get_by_role("heading", name=f"Shopper {lamp_fan}").wait_for()


def test_two_rows_of_one_rank_stand_side_by_side(shop: Shop, tab: Tab, lamp_fan: str) -> None:
    tab.page.goto(ui(shop, f"shopper?id={lamp_fan}"))
    tops = [
        [one.bounding_box() for one in section.locator("li").all()]
        for section in tab.page.locator("#results > section").all()
    ]
    assert len(tops) == 2
    assert len(tops[0]) == len(tops[1]) == 12
    for one, other in zip(*tops, strict=True):
        assert one is not None
        assert other is not None
        assert abs(one["y"] - other["y"]) < 1


def test_the_search_stays_while_shoppers_and_products_are_looked_at(
    shop: Shop, tab: Tab, lamp_fan: str
) -> None:
    tab.page.goto(ui(shop, f"shopper?id={lamp_fan}&impact=80"))
    tab.page.get_by_label("Search for").fill("tea")
    tab.page.get_by_text("12 matches").wait_for()
    tab.page.locator("#results .what a").first.click()
    tab.page.get_by_role("heading", name="Similar to tea").wait_for()
    tab.page.get_by_role("link", name="Back to shopper").click()
    tab.page.get_by_text("12 matches").wait_for()
    assert tab.page.get_by_role("slider", name="Impact").input_value() == "80"
    assert tab.page.get_by_text("configured: 50").is_visible()
    tab.page.get_by_label("Search for").fill("books")
    tab.page.get_by_role("region", name=re.compile("Personalised")).get_by_text(
        "books"
    ).first.wait_for()
    tab.page.get_by_label("Shopper").fill("somebody else")
    tab.page.get_by_role("button", name="Find").click()
    tab.page.get_by_role("heading", name="Shopper somebody else").wait_for()
    assert tab.page.get_by_label("Search for").input_value() == "books"


def test_the_same_search_stands_side_by_side(shop: Shop, tab: Tab, lamp_fan: str) -> None:
    tab.page.goto(ui(shop, f"shopper?id={lamp_fan}"))
    assert set(kinds(tab, "Personalised")) == {"lamps"}
    assert set(kinds(tab, "Plain")) != {"lamps"}
    assert tab.page.locator("li.up .move").count() > 0
    scores = tab.page.get_by_role("region", name=re.compile("Personalised")).locator(".score")
    reasons = tab.page.locator(".because").all_inner_texts()
    assert "added to the cart already" in reasons
    assert "like lamps <b>number</b> 1, added to the cart" in reasons
    assert (
        "Of the first 12: 12 came up from further down."
        in tab.page.locator("#results").inner_text()
    )
    # Beside each product of the plain order stands where it is now.
    plain = tab.page.get_by_role("region", name=re.compile("Plain"))
    assert re.fullmatch(r"now \d+", plain.locator(".then").first.inner_text())
    values = [float(one.replace("score", "")) for one in scores.all_inner_texts()]
    assert values == sorted(values, reverse=True)


def test_a_text_search_keeps_to_its_matches(shop: Shop, tab: Tab, lamp_fan: str) -> None:
    tab.page.goto(ui(shop, f"shopper?id={lamp_fan}"))
    tab.page.get_by_label("Search for").fill("tea")
    tab.page.get_by_text("12 matches").wait_for()
    assert set(kinds(tab, "Personalised")) == {"tea"}
    assert "q=tea" in tab.page.url


def test_the_slider_changes_how_much_the_taste_counts(shop: Shop, tab: Tab, lamp_fan: str) -> None:
    tab.page.goto(ui(shop, f"shopper?id={lamp_fan}&impact=100"))
    tab.page.get_by_role("slider", name="Impact").fill("0")
    tab.page.get_by_text("Impact is 0: nothing is re-ranked.").wait_for()
    tab.page.get_by_role("slider", name="Impact").fill("60")
    tab.page.get_by_text("impact 60").wait_for()
    assert "impact=60" in tab.page.url


@pytest.mark.parametrize(
    ("act", "words"), [("view", "viewed"), ("click", "clicked"), ("cart", "added to the cart")]
)
def test_a_click_changes_the_ranking_through_the_queue(
    shop: Shop, tab: Tab, act: str, words: str
) -> None:
    customer = f"newcomer-{act}"
    tab.page.goto(ui(shop, f"shopper?id={customer}&impact=100"))
    tab.page.get_by_text("No interaction of this shopper is stored").wait_for()
    before = tab.page.locator("#results li .what a").all_inner_texts()
    wanted = before[3].split()[0]
    tab.page.locator("#results li").nth(3).get_by_role("button", name=act).click()
    tab.page.get_by_text("The event went through the queue").wait_for()
    assert f"{words} just now: 100 %" in tab.page.locator(".timeline li").first.inner_text()
    assert kinds(tab, "Personalised")[:3] == [wanted] * 3
    assert shop.users.get(customer) is not None
    # The focus stays where the hand is, if that product is still shown.
    assert tab.page.evaluate("document.activeElement !== document.body")


def test_a_second_click_moves_the_ranking_again(shop: Shop, tab: Tab) -> None:
    tab.page.goto(ui(shop, "shopper?id=changing&impact=100&q=tea"))
    tab.page.locator("#results [value=click]").first.click()
    tab.page.get_by_text("went through the queue").wait_for()
    tab.page.get_by_label("Search for").fill("books")
    personal = tab.page.get_by_role("region", name=re.compile("Personalised"))
    personal.get_by_text("books").first.wait_for()
    last = personal.locator("li").last
    wanted = last.get_attribute("data-product")
    last.locator("[value=cart]").click()
    tab.page.locator(".timeline li").nth(1).wait_for()
    assert "books" in tab.page.locator(".timeline li").first.inner_text()
    assert personal.locator("li").first.get_attribute("data-product") == wanted


def test_similar_products_are_one_link_away(shop: Shop, tab: Tab, lamp_fan: str) -> None:
    tab.page.goto(ui(shop, f"shopper?id={lamp_fan}"))
    tab.page.locator(".timeline a").first.click()
    tab.page.get_by_role("heading", name="Similar to lamps").wait_for()
    found = tab.page.locator(".hits .what a").all_inner_texts()
    assert {one.split()[0] for one in found[:11]} == {"lamps"}
    tab.page.get_by_role("link", name="Back to shopper").click()
    tab.page.get_by_role("heading", name=f"Shopper {lamp_fan}").wait_for()


def test_forgetting_a_shopper(shop: Shop, tab: Tab) -> None:
    shop.send(event("leaver", "tea-1", "purchase"))
    shop.wait_for("leaver", 1)
    tab.page.goto(ui(shop, "shopper?id=leaver"))
    tab.page.get_by_text("Forget this shopper").click()
    tab.page.get_by_role("button", name="Forget shopper leaver").click()
    tab.page.get_by_text("The shopper is forgotten").wait_for()
    tab.page.goto(ui(shop, "shopper?id=leaver"))
    assert tab.page.get_by_text("No interaction of this shopper is stored").is_visible()


def test_everything_is_escaped(shop: Shop, tab: Tab) -> None:
    nasty = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    shop.send(event(nasty, "tea-1", "view_item"), event(nasty, "<b>no</b>", "view_item"))
    shop.wait_for(nasty, 2)
    tab.page.goto(ui(shop))
    tab.page.get_by_label("Shopper").fill(nasty)
    tab.page.get_by_role("button", name="Find").click()
    assert tab.page.get_by_role("heading", level=1).inner_text() == f"Shopper {nasty}"
    assert "tea <b>number</b> 1" in tab.page.locator(".timeline").inner_text()
    assert "<b>no</b>" in tab.page.locator(".timeline").inner_text()
    assert tab.page.locator("img, main script, .timeline b").count() == 0
    tab.page.get_by_label("Search for").fill(nasty)
    tab.page.get_by_role("button", name="Search").click()
    tab.page.get_by_text("Results updated").wait_for()
    assert tab.page.locator("img, main script").count() == 0


def test_by_keyboard_alone(shop: Shop, tab: Tab, lamp_fan: str) -> None:
    def focus() -> str:
        return str(tab.page.evaluate("document.activeElement.id || document.activeElement.name"))

    tab.page.goto(ui(shop))
    tab.page.keyboard.press("Tab")
    assert tab.page.locator(".skip").is_visible()
    tab.page.keyboard.press("Enter")
    assert focus() == "main"
    tab.page.goto(ui(shop))
    while focus() != "find":
        tab.page.keyboard.press("Tab")
    tab.page.keyboard.type(lamp_fan)
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("heading", name=f"Shopper {lamp_fan}").wait_for()
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        if focus() == "impact":
            break
    tab.page.keyboard.press("ArrowRight")
    tab.page.get_by_text("impact 55").wait_for()
    for _ in range(60):
        tab.page.keyboard.press("Tab")
        if focus() == "act":
            break
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("went through the queue").wait_for()
    assert focus() == "act"


def test_it_all_works_without_javascript(browser: Browser, shop: Shop, lamp_fan: str) -> None:
    from tests.web_ui.browser import Tab

    with browser.new_context(java_script_enabled=False) as context:
        tab = Tab(context.new_page())
        tab.page.goto(ui(shop, f"shopper?id={lamp_fan}"))
        assert tab.page.locator(".timeline li").count() >= 2
        assert set(kinds(tab, "Personalised")) <= set(KINDS)
        tab.page.get_by_label("Search for").fill("books")
        tab.page.get_by_role("button", name="Search").click()
        tab.page.get_by_text("12 matches").wait_for()
        assert set(kinds(tab, "Personalised")) == {"books"}
        tab.page.locator("#results [value=click]").first.click()
        tab.page.get_by_text("went through the queue").wait_for()
        assert "clicked just now" in tab.page.locator(".timeline li").first.inner_text()
        assert tab.complaints == []


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, shop: Shop, lamp_fan: str) -> None:
    with browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True) as context:
        page = context.new_page()
        for path in ("", f"shopper?id={lamp_fan}", "similar?product=tea-1", "login"):
            page.goto(ui(shop, path))
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 360, path
        page.goto(ui(shop, f"shopper?id={lamp_fan}"))
        for box in [one.bounding_box() for one in page.locator(".act button").all()[:6]]:
            assert box is not None
            assert box["height"] >= 24
            assert box["width"] >= 24
