"""The page on which models run in a browser: its files, and a real browser that uses it."""

import importlib.util
import json
import re
import shutil
import urllib.request
from contextlib import contextmanager

import PIL.Image
import pytest

import export
import training
import zoo
from export import manifest
from export.browser_page import RUNTIME_FILES
from export.onnx_metadata import load, read_metadata
from export.prediction import classifier
from export.web_server import serving

from .pages import HOSTILE, Page

IMAGES = 100


@pytest.fixture(scope="module")
def images():
    return training.load_data("digits").test


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, images):
    """A bundle of the weights that come with the package, with samples."""
    made = zoo.card("resnet20.digits").preprocessing
    data = made(images.images[:40]), images.labels[:40]
    return export.bundle("resnet20.digits", tmp_path_factory.mktemp("web") / "bundle", data=data)


@pytest.fixture
def runtime(tmp_path):
    """Files of the runtime's names, for pages that nobody runs."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in RUNTIME_FILES:
        (folder / name).write_text(name)
    return folder


def test_the_page_has_all_that_it_asks_for(bundle, runtime, tmp_path):
    site = export.web([bundle, bundle], tmp_path / "site", runtime=runtime)
    page = Page((site / "index.html").read_text(encoding="utf-8"))
    assert page.open == []
    models = json.loads((site / "models.json").read_text(encoding="utf-8"))
    assert [model["slug"] for model in models] == ["resnet20.digits-fp32", "resnet20.digits-fp32-2"]
    asked = [address for address in page.addresses if not address.startswith(("data:", "#"))]
    for model in models:
        asked += [model["file"], model["report"], *(one["file"] for one in model["samples"])]
        assert read_metadata(site / model["file"])["labels"] == model["labels"]
        (image,) = load(site / model["file"]).graph.input
        assert image.type.tensor_type.elem_type == 2  # uint8
    script = (site / "app.js").read_text(encoding="utf-8")
    asked += re.findall(r'from "\./([^"]+)"', script)
    assert [name for name in asked if not (site / name).is_file()] == []
    elements = set(re.findall(r'find\("([^"]+)"\)', script))
    assert elements <= page.ids


def test_words_from_outside_are_escaped(bundle, runtime, tmp_path):
    hostile = tmp_path / "hostile"
    shutil.copytree(bundle, hostile)
    report = json.loads((hostile / "report.json").read_text(encoding="utf-8"))
    report["name"] = HOSTILE
    (hostile / "report.json").write_text(json.dumps(report), encoding="utf-8")
    site = export.web([hostile], tmp_path / "site", runtime=runtime)
    assert HOSTILE not in (site / "index.html").read_text(encoding="utf-8")


def test_a_changed_file_is_refused(bundle, runtime, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    proto = load(changed / "model.onnx")
    proto.producer_name = "another"
    (changed / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(zoo.InputError, match="was changed after the checks"):
        export.web([changed], tmp_path / "site", runtime=runtime)
    assert not (tmp_path / "site").exists()


def test_what_is_no_bundle_or_no_page_is_refused(bundle, runtime, tmp_path):
    with pytest.raises(zoo.InputError, match="is no bundle"):
        export.web([tmp_path], tmp_path / "site", runtime=runtime)
    with pytest.raises(zoo.InputError, match=r"lacks ort\.wasm"):
        export.web([bundle], tmp_path / "site", runtime=tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.txt").write_text("mine")
    with pytest.raises(zoo.InputError, match=r"holds mine\.txt, which is no part of a page"):
        export.web([bundle], tmp_path / "site", runtime=runtime)
    with pytest.raises(zoo.InputError, match="received none"):
        export.web([], tmp_path / "site")


@pytest.mark.parametrize(
    ("models", "also"),
    [
        ("{}", "src/thesis.txt"),
        ("[]", "index.html"),
        ('[{"slug": "a"}]', "models/a/model.onnx"),
        ("[3]", None),
        ("[", None),
        (None, "index.html"),
        ("ours", "src/thesis.txt"),
        ("ours", "models/thesis.txt"),
        ("ours", "models/mine/weights.onnx"),
        ("ours", "ort/thesis.txt"),
    ],
)
def test_a_folder_that_looks_like_a_page_is_not_deleted(bundle, runtime, tmp_path, models, also):
    out = tmp_path / "site"
    if models == "ours":
        export.web([bundle], out, runtime=runtime)
        export.web([bundle], out, runtime=runtime)  # an older page is replaced
    out.mkdir(exist_ok=True)
    if models not in ("ours", None):
        (out / "models.json").write_text(models)
    if also is not None:
        (out / also).parent.mkdir(parents=True, exist_ok=True)
        (out / also).write_text("mine")
    before = manifest.held(out)
    named = also if models == "ours" else before[0]
    with pytest.raises(zoo.InputError, match=f"holds {re.escape(named)}, which is no part of a"):
        export.web([bundle], out, runtime=runtime)
    assert manifest.held(out) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"samples": ...}, "it has no 'samples'"),
        ({"samples": [{"image": "data:,"}]}, "it has no 'label'"),
        ({"samples": 3}, "not iterable"),
        ({"fold": None}, "not subscriptable"),
        ({"fold": {"folded": 1, "kept": 0, "entries": [3]}}, "not subscriptable"),
        ({"card": "x"}, "no attribute 'get'"),
        ({"accuracy": {"onnx": "all", "images": 3}}, "format"),
        ({"source": {}}, "it has no 'parameters'"),
    ],
)
def test_a_damaged_report_is_told(bundle, runtime, tmp_path, change, told):
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    report = json.loads((damaged / "report.json").read_text(encoding="utf-8")) | change
    report = {key: value for key, value in report.items() if value is not ...}
    (damaged / "report.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(zoo.InputError, match=r"report\.json is damaged: ") as raised:
        export.web([damaged], tmp_path / "site", runtime=runtime)
    assert told in str(raised.value)
    assert not (tmp_path / "site").exists()


def test_without_npm_it_says_what_to_install(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("FOLDZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(zoo.InputError, match="npm is not there; install it"):
        export.web([bundle], tmp_path / "site")


def test_the_server_sends_the_types_that_browsers_ask_for(bundle, runtime, tmp_path):
    site = export.web([bundle], tmp_path / "site", runtime=runtime)
    with serving(site) as address:
        for name, kind in {
            "app.js": "text/javascript",
            f"ort/{RUNTIME_FILES[2]}": "application/wasm",
        }.items():
            with urllib.request.urlopen(f"{address}{name}") as answer:
                assert answer.headers["Content-Type"] == kind
        port = int(address.rsplit(":", 1)[1].strip("/"))
        with (
            pytest.raises(zoo.InputError, match=f"port {port} is in use"),
            serving(site, port=port),
        ):
            pass
    with pytest.raises(zoo.InputError, match="holds no page"), serving(tmp_path):
        pass


@contextmanager
def browser():
    """A real browser that may ask this machine alone."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium; on Debian: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs playwright: pip install -c constraints.txt playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@pytest.fixture(scope="module")
def site(bundle, tmp_path_factory):
    """The page with the real runtime."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm; on Debian: apt-get install npm")
    return export.web([bundle], tmp_path_factory.mktemp("web") / "site")


READY = "#result[aria-busy=false]"


def opened(started, address, problems, **view):
    """Open the page and wait until its model is loaded."""
    page = started.new_page(**view)
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector(READY, timeout=120_000)
    return page


def told(page):
    """The classes with their probabilities in percent, as the page shows them."""
    rows = page.locator("#classes li")
    texts = [rows.nth(i).locator("span").all_inner_texts() for i in range(rows.count())]
    return [(label, float(share.removesuffix("%"))) for label, _, share in texts]


@pytest.mark.slow
def test_a_person_gets_the_answers_of_onnxruntime(site, bundle, images, tmp_path):
    model, problems = classifier(bundle / "model.onnx"), []
    with serving(site) as address, browser() as started:
        page = opened(started, address, problems)
        for index, image in enumerate(images.images[:IMAGES]):
            file = tmp_path / f"{index}.png"
            PIL.Image.fromarray(image).save(file)
            page.set_input_files("#file", file)
            page.wait_for_selector(f'#status:text-is("{file.name}")')
            wanted = model.top(file)
            shown = told(page)
            assert shown[0][0] == wanted[0][0], file.name
            # Shown with two digits behind the point.
            for (_, share), (_, probability) in zip(shown, wanted, strict=True):
                assert share == pytest.approx(100 * probability, abs=0.011)
    assert problems == []


@pytest.mark.slow
def test_a_phone_a_keyboard_and_a_file_that_is_no_image(site, images, tmp_path):
    problems = []
    with serving(site) as address, browser() as started:
        page = opened(started, address, problems, viewport={"width": 360, "height": 740})
        # Nothing is wider than the phone.
        assert page.locator("html").evaluate("e => e.scrollWidth <= e.clientWidth")
        sample = page.locator("#samples button").first
        sample.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#classes li")
        assert page.inner_text("#status").startswith("Sample: ")
        assert "ms in this browser" in page.inner_text("#latency")
        (tmp_path / "notes.png").write_text("no image")
        page.set_input_files("#file", tmp_path / "notes.png")
        page.wait_for_selector("#problem:visible")
        assert "not an image" in page.inner_text("#problem")
        assert told(page) == []
        # And it goes on, with an image of another size and shape.
        large = PIL.Image.fromarray(images.images[0]).resize((333, 200))
        large.save(tmp_path / "large.png")
        page.set_input_files("#file", tmp_path / "large.png")
        page.wait_for_selector('#status:text-is("large.png")')
        assert len(told(page)) == 5 and not page.is_visible("#problem")
    assert problems == []
