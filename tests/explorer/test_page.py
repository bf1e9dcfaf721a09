"""The explorer in a real browser: load, drop, click, slide, at the width of a desktop and a phone.

With MMSEG_DEEPVIT_SCREENSHOTS=DIR one of the tests writes the screenshots of the documentation, of
the model that `make demo` trained on pictures that it drew itself.
"""

import json
import struct
import time
import zlib
from types import SimpleNamespace
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import tifffile

from mmseg_deepvit.engine import find_whole_checkpoint

from ..conftest import ROOT
from .browser import SCREENSHOTS, drop, find_browser, screenshot, serving

pytest.importorskip("nicegui", reason="the explorer needs NiceGUI")
sync_api = pytest.importorskip("playwright.sync_api", reason="the test needs playwright")
if find_browser() is None:
    pytest.skip("the test needs Debian's chromium", allow_module_level=True)

pytestmark = pytest.mark.slow

SAMPLES = "data/ISIC2018_Task1-2_Validation_Input/ISIC_*.jpg"
_WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture(scope="module")
def samples(tmp_path_factory, image):
    """Return three sample images."""
    folder = tmp_path_factory.mktemp("samples")
    for i in range(3):
        cv2.imwrite(str(folder / f"sample{i}.png"), np.roll(image, 20 * i, 1))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def server(tmp_path_factory, files, samples):
    """Serve the small model, and follow a run of eight iterations."""
    folder = tmp_path_factory.mktemp("work_dir")
    scalars = folder / "20200101_000000/vis_data/scalars.json"
    scalars.parent.mkdir(parents=True)
    lines = [{"loss": 2 - i / 10, "lr": 0.01, "iter": i, "step": i} for i in range(1, 9)]
    lines += [{"collapse/entropy": 0.9, "step": 8}, {"Dice": 50.0, "step": 8}]
    scalars.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with serving(*files, "--images", *samples, "--run", folder) as address:
        yield SimpleNamespace(address=address, scalars=scalars, samples=samples)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=find_browser(),
            args=["--no-sandbox"],  # containers run as root
        )
        yield found
        found.close()


@pytest.fixture
def open_page(browser, server):
    """Open a window; at the end it must have asked this machine only, and met no error."""
    asked, errors = [], []

    def open_page(width=1280, height=800):
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.address)
        page.wait_for_selector(".heads img[src^='data:']")
        return page

    yield open_page
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert any(url.startswith("ws:") for url in asked)
    assert not errors


def name_of(page):
    return page.locator(".name").inner_text()


def wait_for_text(page, selector, text):
    page.locator(f"{selector}:visible", has_text=text).first.wait_for()


def wait_for_other(page, selector, source):
    """Wait until an image has been loaded from another address."""
    changed = """([selector, old]) => {
      const image = document.querySelector(selector);
      return image.src !== old && image.complete;
    }"""
    page.wait_for_function(changed, arg=[selector, source])


def heads(page):
    return page.eval_on_selector_all(".heads img", "images => images.map((image) => image.src)")


def click_at(page, x, y):
    """Click at a place on the image, both from 0 to 1."""
    page.locator(".image").scroll_into_view_if_needed()
    box = page.locator(".image img").bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def bomb():
    """A PNG of a few bytes whose header promises 400 million pixels."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("device", _WIDTHS)
def test_drop_click_and_slide(open_page, server, device, image):
    page = open_page(*_WIDTHS[device])
    assert name_of(page) == server.samples[0].name

    painted = page.locator(".image img").get_attribute("src")
    drop(page, "dropped.png", png(255 - image))
    wait_for_text(page, ".name", "dropped.png")
    wait_for_text(page, ".quiet", "60 × 40 pixels")
    wait_for_other(page, ".image img", painted)
    shares = page.locator(".shares .number").all_inner_texts()
    assert sum(float(share.rstrip(" %")) for share in shares) == pytest.approx(100, abs=0.2)

    before = heads(page)
    click_at(page, 0.02, 0.02)
    wait_for_text(page, ".blocks .quiet", "row 0, column 0")
    wait_for_other(page, ".heads img", before[0])
    assert page.locator(".image svg rect").first.get_attribute("x") == "0.0"

    tokens = page.locator(".tokens img").get_attribute("src")
    page.locator(".blocks .q-slider").click(position={"x": 8, "y": 10})
    start = time.monotonic()
    wait_for_text(page, ".blocks .title", "Block 0,")
    assert time.monotonic() - start < 2
    assert page.locator(".tokens img").get_attribute("src") != tokens
    wait_for_text(page, ".maps .note", "mixes no heads")

    painted = page.locator(".image img").get_attribute("src")
    page.get_by_role("button", name="image", exact=True).click()
    wait_for_other(page, ".image img", painted)
    assert page.evaluate("document.documentElement.scrollWidth") <= _WIDTHS[device][0]


def test_broken_files_are_named_and_the_next_image_is_shown(open_page, image):
    page = open_page()
    shown = name_of(page)
    broken = {
        "notes.txt": (b"just text", "is no image"),
        "cut.jpg": (cv2.imencode(".jpg", image)[1].tobytes()[:-300], "replace the file"),
        "deep.png": (png(np.zeros((9, 9), np.uint16)), "8 bits a channel"),
        "empty.png": (b"", "is empty"),
        "bomb.png": (bomb(), "more than 178956970 pixels; cut"),
    }
    for name, (data, said) in broken.items():
        drop(page, name, data)
        wait_for_text(page, "[role=alert]", name)
        assert said in page.locator("[role=alert]").inner_text(), name
        assert name_of(page) == shown
    page.evaluate("window.large = new DataTransfer()")
    page.evaluate("large.items.add(new File([new Uint8Array(65 * 2 ** 20)], 'large.png'))")
    large = page.evaluate_handle("large")
    page.dispatch_event("body", "drop", {"dataTransfer": large})
    wait_for_text(page, "[role=alert]", "larger than 64 MiB; scale")
    for name in ("good.png", "again.png"):
        drop(page, name, png(image))
        wait_for_text(page, ".name", name)
        page.locator("[role=alert]").wait_for(state="hidden")


def test_a_model_of_five_bands(browser, band_files, tmp_path):
    """Samples and dropped scans are shown; a photograph is refused in one line."""
    for i, name in enumerate(("first", "second")):
        scan = np.random.default_rng(i).integers(0, 4096, (5, 40, 60)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", scan, photometric="minisblack")
    with serving(*band_files, "--images", tmp_path / "first.tif") as address:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        page.wait_for_selector(".heads img[src^='data:']")
        assert name_of(page) == "first.tif"
        loaded = "document.querySelector('.gallery img').naturalWidth > 0"
        page.wait_for_function(loaded)
        drop(page, "photo.png", png(np.zeros((9, 9, 3), np.uint8)))
        wait_for_text(page, "[role=alert]", "photo.png has 3 bands, and band 4 is asked for; set")
        drop(page, "dropped.tif", (tmp_path / "second.tif").read_bytes())
        wait_for_text(page, ".name", "dropped.tif")
        page.locator("[role=alert]").wait_for(state="hidden")
        wait_for_text(page, ".quiet", "60 × 40 pixels")
        page.get_by_role("tab", name="Collapse").click()
        wait_for_text(page, ".note", "1 image: dropped.tif")
        page.close()


@pytest.mark.parametrize("device", _WIDTHS)
def test_collapse_and_training(open_page, server, device):
    page = open_page(*_WIDTHS[device])
    page.get_by_role("tab", name="Collapse").click()
    wait_for_text(page, ".note", "1 image: " + server.samples[0].name)
    assert page.locator(".chart canvas:visible").count() == 5
    page.get_by_role("tab", name="Training").click()
    wait_for_text(page, ".note", "iteration ")
    number = 10_000 + list(_WIDTHS).index(device)
    with server.scalars.open("a") as file:  # as a run does
        file.write(json.dumps({"loss": 0.125, "iter": number, "step": number}) + "\n")
    wait_for_text(page, ".note", f"iteration {number}")
    wait_for_text(page, ".group .quiet", "last 0.125")
    assert page.evaluate("document.documentElement.scrollWidth") <= _WIDTHS[device][0]


def test_two_windows_keep_their_own_state(open_page, server, image):
    first, second = open_page(), open_page()
    second.get_by_role("button", name="open sample 1").click()
    wait_for_text(second, ".name", server.samples[1].name)
    drop(first, "mine.png", png(image))
    wait_for_text(first, ".name", "mine.png")
    click_at(first, 0.02, 0.02)
    wait_for_text(first, ".blocks .quiet", "row 0, column 0")
    assert name_of(second) == server.samples[1].name
    assert "row 0" not in second.locator(".blocks .quiet").inner_text()
    assert heads(first) != heads(second)


def test_other_sites_names_for_this_machine_are_refused(browser, server):
    context = browser.new_context(extra_http_headers={"Host": "elsewhere.example"})
    assert context.request.get(server.address).status == 400
    context.close()


@pytest.mark.skipif(SCREENSHOTS is None, reason="MMSEG_DEEPVIT_SCREENSHOTS names no folder")
def test_screenshots(browser):
    """Those of the documentation."""
    demo = ROOT / "work_dirs" / "demo"
    checkpoint = find_whole_checkpoint(demo / "run")
    if checkpoint is None:
        pytest.skip("needs the model of `make demo`")
    images = sorted(demo.glob(SAMPLES))[:8]
    config = ROOT / "configs" / "upernet_deepvit_demo.py"
    with serving(config, checkpoint, "--images", *images, "--run", demo / "run") as address:
        for device, (width, height) in _WIDTHS.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(address)
            page.wait_for_selector(".heads img[src^='data:']", timeout=60_000)
            click_at(page, 0.3, 0.4)
            page.wait_for_timeout(2000)
            screenshot(page, f"image-{device}")
            page.get_by_role("tab", name="Collapse").click()
            page.locator(".chart canvas:visible").nth(4).wait_for()
            screenshot(page, f"collapse-{device}")
            page.get_by_role("tab", name="Training").click()
            wait_for_text(page, ".note", "iteration ")
            screenshot(page, f"training-{device}", full_page=False)
            page.close()
