"""The demo page in a real browser: Debian's Chromium through Playwright."""

import contextlib
import io
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is NOT tested in a browser: no Playwright")
uvicorn = pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium")
if not CHROMIUM:
    pytest.skip("the page is NOT tested in a browser: no chromium on PATH", allow_module_level=True)

from keras_alexnet import load_network  # noqa: E402 (after the skips)
from keras_alexnet.demo.app import MAX_FILE_BYTES, Demo, create_app  # noqa: E402
from keras_alexnet.saved_model.export import export_model  # noqa: E402
from serving.client import AsyncClient  # noqa: E402
from tests.helpers.backends import embedded_server  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]
WAIT_MS = 60_000
# A drop or a paste as the browser would make it of real files.
DROP = """([name, type, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
PASTE = """([name, type, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
}"""


@contextlib.contextmanager
def running(app):
    """Serves the app in a thread; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="module")
def backend(trained, tmp_path_factory):
    """An embedded server with the tiny network, which a test may end."""
    base = tmp_path_factory.mktemp("export") / "alexnet"
    network = load_network(trained)
    export_model(network.model, str(base), list(network.class_names))
    with embedded_server("--model_name=alexnet", f"--model_base_path={base}") as server:
        yield server


@pytest.fixture(scope="module")
def address(backend, explanation):
    demo = Demo(AsyncClient(backend.address, timeout_s=20), backend.address, "alexnet", explanation)
    with running(create_app(demo)) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[375, 1400], ids=["phone", "desktop"])
def page(browser, address, request):
    """The page, which asks no other host for anything and has no error in its console."""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("text=Model alexnet at", timeout=WAIT_MS)
    yield page
    assert not errors
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
    page.close()


def photograph(folder):
    return next((folder / "val").glob("*/*")).read_bytes()


def base64(data):
    import base64

    return base64.b64encode(data).decode()


def test_a_dropped_photograph_gets_its_classes(page, photographs):
    page.evaluate(DROP, ["mine.png", "image/png", base64(photograph(photographs))])
    page.wait_for_selector("text=1 of 1 classified.", timeout=WAIT_MS)
    rows = page.locator("article tbody tr")
    assert rows.count() == 3
    assert rows.first.inner_text().endswith("%")
    assert "Predicted by version 1." in page.locator("article").inner_text()
    # Nothing is wider than the window.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_pasted_text_file_gets_a_sentence(page):
    page.evaluate(PASTE, ["notes.txt", "text/plain", base64(b"no image")])
    page.wait_for_selector("text=This file is not an image that the network can read", timeout=WAIT_MS)
    assert page.get_by_role("alert").count() == 1
    assert "0 of 1 classified, 1 without a prediction." in page.get_by_role("status").inner_text()


def test_a_file_that_is_too_large_is_not_sent(page):
    page.set_input_files("#files", {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": bytes(MAX_FILE_BYTES + 1)})
    page.wait_for_selector("text=This file is larger than 16 MB.", timeout=WAIT_MS)


def test_the_network_is_looked_into_by_keyboard(page, photographs):
    files = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": photograph(photographs)} for n in range(2)]
    page.set_input_files("#files", files)
    page.wait_for_selector("text=2 of 2 classified.", timeout=WAIT_MS)
    first = page.locator("article").first
    first.get_by_role("button", name="Show the ten crops").focus()
    page.keyboard.press("Enter")
    first.locator(".crops li").nth(9).wait_for(timeout=WAIT_MS)
    assert first.locator(".neighbours li").count() == 6
    assert first.locator(".neighbours img").first.evaluate("image => image.complete && image.naturalWidth > 50")
    first.locator(".crops li").first.focus()
    assert first.locator("svg rect.selected").count() == 1
    first.get_by_label("Activations of").select_option("conv1")
    first.locator("figure img").wait_for(timeout=WAIT_MS)
    assert first.locator("figure img").evaluate("image => image.complete && image.naturalWidth > 100")
    page.keyboard.press("Tab")
    assert page.get_by_role("img", name="The kernels of the first layer").count() == 1


def test_the_choice_of_files_is_the_first_thing_the_tab_key_reaches(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.get_by_label("Choose photographs").count() == 1


def test_the_predictions_are_downloaded_as_csv(page, photographs):
    page.evaluate(DROP, ["=1+1.png", "image/png", base64(photograph(photographs))])
    page.wait_for_selector("text=1 of 1 classified.", timeout=WAIT_MS)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == '"file","rank","label","score","version","error"'
    assert len(lines) == 4 and all(line.startswith('"\'=1+1.png",') for line in lines[1:])
    page.get_by_role("button", name="Remove all").click()
    assert page.locator("article").count() == 0


def test_a_server_that_is_gone_gets_a_sentence(browser, photographs):
    demo = Demo(AsyncClient("127.0.0.1:1", timeout_s=2), "127.0.0.1:1", "alexnet")
    with running(create_app(demo)) as address:
        page = browser.new_page()
        page.goto(address)
        page.evaluate(DROP, ["mine.png", "image/png", base64(photograph(photographs))])
        page.wait_for_selector("text=The server did not respond.", timeout=WAIT_MS)
        page.close()


def test_the_page_says_that_its_own_server_is_gone(browser, photographs):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    with running(create_app(Demo(AsyncClient("127.0.0.1:1"), "127.0.0.1:1", "alexnet"))) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("text=Model alexnet at", timeout=WAIT_MS)
    page.evaluate(DROP, ["mine.png", "image/png", base64(buffer.getvalue())])
    page.wait_for_selector("text=The page's own server does not respond.", timeout=WAIT_MS)
    page.close()
