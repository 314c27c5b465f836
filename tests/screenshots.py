"""Takes the pictures of the demo page in docs/images/: `python -m tests.screenshots`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from tests.browser import Window

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 740}

ROOMS = [
    ("film-night", "Film night", "everyone", False),
    ("garden", "The community garden", "everyone", False),
    ("ideas", "Ideas", "everyone", False),
    ("lounge", "Lounge", "everyone", False),
    ("old-town", "Old town", "everyone", True),
    ("staff", "Staff", "signed_in", False),
]

TALK = [
    ("Mona Okafor", "Doors open at seven. Who is bringing the projector?"),
    ("Jules", "Me! And the long cable this time, I promise."),
    ("Jules", "Do we know what we are watching yet?"),
    ("Ada", "Votes so far:\n1. Paddington 2\n2. In the Mood for Love\n3. The Third Man"),
    ("Mona Okafor", "Paddington, obviously"),
    ("Ada", "The whole list: https://example.org/films"),
    ("grace", "Three against one then. I’ll bring the marmalade sandwiches."),
    ("Jules", "Deal"),
]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    django.setup()
    from tests.browser import Windows, chromium, serving

    prepare = (
        "from django.contrib.auth import get_user_model\n"
        "get_user_model().objects.create_user('grace', password='correct-horse')\n"
        "from chat.models import Room\n"
        f"for name, title, access, closed in {ROOMS!r}:\n"
        "    Room.objects.create(name=name, title=title, access=access, closed=closed)"
    )
    with serving(prepare=prepare) as server, chromium() as browser:
        windows = Windows(browser)

        def visitor(name: str | None, size: dict[str, int], scheme: str = "light") -> "Window":
            return windows(server, name, viewport=size, color_scheme=scheme, locale="en-GB")

        for name, size in (("door-1280", WIDE), ("door-375", PHONE)):
            door = visitor(None, size).open()
            door.page.wait_for_selector("#door-directory a")
            _take(door, name)
        people = {
            "Mona Okafor": visitor("Mona Okafor", WIDE),
            "Jules": visitor("Jules", PHONE),
            "Ada": visitor("Ada", WIDE, "dark"),
            "grace": _signed_in(visitor(None, PHONE, "dark")),
        }
        for window in people.values():
            for room in ("ideas", "lounge"):
                window.enter(room)  # so that the list of rooms is not empty
            window.enter("film-night")
        for name, words in TALK:
            people[name].say(words)
            for window in people.values():
                window.hears(words)
        _take(people["Mona Okafor"], "chat-1280")
        _take(people["Jules"], "chat-375")
        _take(people["Ada"], "chat-1280-dark")
        _take(people["grace"], "chat-375-dark")
        people["Jules"].page.get_by_role("button", name="Who is here", exact=True).click()
        _take(people["Jules"], "people-375")
        server.stop()
        people["Mona Okafor"].reads("#banner", "Trying again")
        people["Mona Okafor"].say("Are you still there?")
        _take(people["Mona Okafor"], "reconnecting-1280")


def _signed_in(window: "Window") -> "Window":
    window.open("/accounts/login/")
    window.page.get_by_label("Username").fill("grace")
    window.page.get_by_label("Password").fill("correct-horse")
    window.page.get_by_role("button", name="Sign in").click()
    window.page.wait_for_selector("#door:not([hidden])")
    return window


def _take(window: "Window", name: str) -> None:
    window.page.wait_for_timeout(700)  # what moves has come to rest
    window.page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
