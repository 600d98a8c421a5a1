"""The explorer's page: two users at once, and a real browser, wide and narrow."""

import json
import re
import socket
import time

import pytest
from conftest import WAIT, record_autoencoder
from gradio_client import Client, handle_file
from PIL import Image

from ddim_embed import cli
from ddim_embed.explorer import attributes, cloud, embedding, repair
from ddim_embed.explorer.models import Models
from ddim_embed.explorer.page import served

MODEL = "fashion_mnist"
# Roles of controls, which a screen reader names.
CONTROLS = {
    "button", "textbox", "slider", "spinbutton", "combobox", "checkbox", "radio", "tab", "link",
    "progressbar", "progressIndicator", "listbox",
}  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    record_autoencoder(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "ROUND", 2)
        patch.setattr(repair, "STEPS", 2)
        patch.setattr(cloud, "STEPS", 2)
        patch.setattr(attributes, "_FITTED", 100)
        with served(Models(root, num_steps=2), port=0) as address:
            yield address


class TestUsers:
    @pytest.fixture
    def users(self, address):
        return [Client(address, verbose=False) for _ in range(2)]

    def test_two_at_once_do_not_see_each_others_images(self, users):
        first, second = users
        first.predict(MODEL, 2, api_name="/take_sample_image")
        first.predict(MODEL, "implicit", api_name="/embed")
        with pytest.raises(Exception, match="Choose an image first"):
            second.predict(MODEL, "implicit", api_name="/embed")
        second.predict(MODEL, 7, api_name="/take_sample_image")
        found = [user.predict(MODEL, "implicit", api_name="/embed") for user in users]
        for result, number in zip(found, (2, 7), strict=True):
            assert f"limit={number}," in " ".join(map(str, result))
        for user in users:
            user.predict(MODEL, 3, api_name="/take_sample_second_image")
            user.predict("linear", 0, api_name="/interpolate")
        third = Client(users[0].src, verbose=False)
        with pytest.raises(Exception, match="Embed an image first"):
            third.predict("linear", 0, api_name="/interpolate")

    def test_foreign_files_are_refused_in_a_sentence(self, users, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_text("no image")
        with pytest.raises(Exception, match=r"notes\.txt cannot be used: not an image"):
            users[0].predict(MODEL, handle_file(path), api_name="/take_file_image")


def test_a_port_that_is_taken(tmp_path):
    record_autoencoder(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"port {port} .*--port 0"),
            served(Models(tmp_path), port=port),
        ):
            pass


class TestCommand:
    def test_without_gradio(self, monkeypatch, capsys):
        monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(SystemExit) as stop:
            cli.main(["explore"])
        assert stop.value.code == 2
        assert "pip install 'ddim-embed[explore]'" in capsys.readouterr().err

    @pytest.mark.parametrize("words", [("--port", "70000"), ("--num-steps", "0")])
    def test_numbers_out_of_range(self, capsys, words):
        with pytest.raises(SystemExit) as stop:
            cli.main(["explore", *words])
        assert stop.value.code == 2 and words[0] in capsys.readouterr().err

    def test_it_serves_loopback_until_interrupted(self, monkeypatch, capsys):
        from ddim_embed.explorer import page

        opened = []

        class Served:
            def __init__(self, models, host, port, browser):
                opened.append((models.root, host, port, browser))

            def __enter__(self):
                return "http://127.0.0.1:7860/"

            def __exit__(self, *error):
                opened.append("closed")

        class Event:
            def wait(self):
                raise KeyboardInterrupt

        monkeypatch.setattr(page, "served", Served)
        monkeypatch.setattr(cli.threading, "Event", Event)
        cli.main(["explore", "--no-browser"])
        assert opened == [(None, "127.0.0.1", 7860, False), "closed"]
        assert "http://127.0.0.1:7860/" in capsys.readouterr().out


class Page:
    """What a user does with the page."""

    def __init__(self, browser, address):
        self.browser = browser
        self.resize(1200)
        browser.get(address)
        self.until(lambda: self.find("//h1"))

    def resize(self, width):
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def until(self, what):
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.1)
        raise AssertionError(self.text()[-2000:])

    def find(self, path):
        found = self.browser.find_elements("xpath", path)
        return [element for element in found if element.is_displayed()]

    def tab(self, words):
        self.click(words, "[@role='tab']")

    def click(self, words, kind=""):
        from selenium.common.exceptions import ElementClickInterceptedException

        path = f"//button[starts-with(normalize-space(), '{words}')]{kind}"  # an arrow may follow

        def clicked():
            for button in self.find(path)[:1]:
                self.browser.execute_script(
                    "arguments[0].scrollIntoView({block: 'center'})", button
                )
                try:
                    button.click()
                except ElementClickInterceptedException:  # the page is busy, and covers it
                    return False
                return True

        self.until(clicked)

    def text(self):
        return self.browser.find_element("tag name", "body").text

    def shows(self, words):
        return words in self.text()

    def drop(self, path):
        self.browser.find_element("css selector", "input[type=file]").send_keys(str(path))

    def unnamed(self):
        """Controls and images that a screen reader has no name for; icons are part of controls."""
        tree = self.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (node["role"]["value"], node.get("backendDOMNodeId"))
            for node in tree
            if not node.get("ignored")
            and node["role"]["value"] in CONTROLS
            and not node.get("name", {}).get("value", "").strip()
        ] + self.find("//img[not(@alt) or @alt='']")

    def wider_than_the_window(self):
        return self.browser.execute_script(
            "return document.documentElement.scrollWidth > window.innerWidth"
        )

    def requests(self):
        """Addresses from which the page has fetched anything, on this computer or not."""
        messages = [
            json.loads(row["message"])["message"] for row in self.browser.get_log("performance")
        ]
        urls = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return {url for url in urls if not url.startswith(("data:", "blob:", "chrome:"))}


@pytest.fixture
def page(chrome, address):
    return Page(chrome, address)


PANELS = ("Latents", "Between", "Repair", "Attributes", "Cloud")


def test_an_image_is_embedded_in_a_browser(page, address, tmp_path):
    page.click("Embed")  # too early
    page.until(lambda: page.shows("Choose an image first"))
    bad = tmp_path / "notes.txt"
    bad.write_text("no image")
    page.tab("File")
    page.drop(bad)
    page.until(lambda: page.shows("notes.txt cannot be used: not an image"))
    own = tmp_path / "own.png"
    Image.effect_noise((40, 40), 60).save(own)
    page.tab("Sample")
    page.click("Image: take this sample")
    page.until(lambda: page.find("//img[@alt='Image']"))
    page.click("Embed")
    page.until(lambda: page.shows("Mean squared error"))
    page.click("Refine")
    page.until(lambda: re.search(r"Rounds: [1-9]", page.text()))
    page.click("Stop")
    page.until(lambda: page.shows("Stopped."))
    page.click("Python that does the same")
    page.until(lambda: page.shows("for _ in range("))
    for width in (1200, 400):
        page.resize(width)
        for panel in PANELS:
            page.tab(panel)
            time.sleep(0.3)
            assert not page.unnamed(), (width, panel)
            assert not page.wider_than_the_window(), (width, panel)
    requested = page.requests()
    assert requested and all(url.startswith(address) for url in requested), requested
