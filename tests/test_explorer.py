"""The explorer without its page: what the panels compute, and the Python that they show."""

import functools
import io
import os

import gradio as gr
import numpy as np
import pytest
from conftest import record_autoencoder
from PIL import Image

import ddim_embed as de
from ddim_embed.data import MAX_IMAGE_PIXELS
from ddim_embed.explorer import (
    attributes,
    cloud,
    controls,
    embedding,
    interpolation,
    pictures,
    repair,
)
from ddim_embed.explorer.models import Models

MODEL = "fashion_mnist"
SAME = {"rtol": 0, "atol": 2e-3}  # float32, through a sampler, from batches of other sizes


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """The code that is run takes the models of the panels: they are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_generator", "load_autoencoder"):
            load = functools.cache(getattr(de, name))
            patch.setattr(
                de,
                name,
                lambda name, root=None, num_steps=10, load=load: load(
                    name, None if root is None else str(root), num_steps
                ),
            )
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    record_autoencoder(root)
    return Models(root, num_steps=2)


@pytest.fixture(scope="module")
def shipped():
    return Models()


@pytest.fixture(scope="module")
def work(models):
    picture = pictures.sample(models, MODEL, 2)
    return embedding.embed(models, MODEL, picture, "ddim_inversion")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(embedding, "ROUND", 4)
    monkeypatch.setattr(repair, "STEPS", 2)
    monkeypatch.setattr(cloud, "STEPS", 2)
    monkeypatch.setattr(attributes, "_FITTED", 100)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Runs code in an empty folder, for a user who has the files that are downloaded there."""
    monkeypatch.chdir(tmp_path)

    def run(code):
        names = {}
        exec(code, names)
        return names

    return run


class TestModels:
    def test_what_ships(self, shipped):
        assert shipped.names[0] == MODEL and {"mnist", "celeba"} <= {*shipped.names}
        for name in shipped.names:
            methods = shipped.methods(name)
            assert methods[0] == "unet" and {*methods} < {*de.METHODS}
            for method in methods:
                found, code = shipped.method(method)
                made = eval(code, {"de": de})
                assert found == (de.METHODS[made]() if isinstance(made, str) else made)

    def test_weights_of_ones_own(self, models):
        assert models.names == [MODEL]
        assert "hybrid" not in models.methods(MODEL) and "unet" not in models.methods(MODEL)
        assert models.autoencoder(MODEL) is models.autoencoder(MODEL) is not None
        assert models.autoencoder("mnist") is None

    def test_calls_say_what_differs_from_the_defaults(self, models, shipped):
        assert shipped.call("load_generator", "mnist") == 'de.load_generator("mnist")'
        made = eval(models.call("load_generator", MODEL), {"de": de})
        assert made.num_steps == 2 and made.image_shape == (16, 16, 1)


class TestPictures:
    def test_samples(self, models, ran):
        found = pictures.sample(models, MODEL, 3)
        names = {"de": de, "generator": models.generator(MODEL)}
        exec(found.code("pixels"), names)
        np.testing.assert_array_equal(names["pixels"], found.pixels)
        expected, _ = de.load_images(MODEL, "test", source="sample", limit=3, image_size=16)
        np.testing.assert_array_equal(found.pixels, expected[-1:])
        with pytest.raises(ValueError, match="`number`"):
            pictures.sample(models, MODEL, 101)

    def test_portraits(self, shipped):
        count = pictures.count_samples("celeba")
        found = pictures.sample(shipped, "celeba", count)
        names = {"de": de, "generator": shipped.generator("celeba")}
        exec(found.code(), names)
        np.testing.assert_array_equal(names["pixels"], found.pixels)
        with pytest.raises(ValueError, match="`number`"):
            pictures.sample(shipped, "celeba", count + 1)

    def test_where_no_images_ship_the_generator_makes_them(self, models, monkeypatch):
        monkeypatch.setattr(pictures, "SAMPLES", ())
        found = pictures.sample(models, MODEL, 2)
        names = {"generator": models.generator(MODEL)}
        exec(found.code(), names)
        np.testing.assert_allclose(names["pixels"], found.pixels, **SAME)

    @pytest.mark.parametrize(
        ("name", "contents", "reason"),
        [
            ("foreign.txt", b"no image", "not an image"),
            ("empty.png", b"", "empty"),
            ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
            ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        ],
    )
    def test_foreign_files_are_refused_in_a_sentence(
        self, models, tmp_path, name, contents, reason
    ):
        path = tmp_path / name
        path.write_bytes(contents)
        with pytest.raises(ValueError, match=f"{name} cannot be used: .*{reason}.*[.]$"):
            pictures.read_file(models.generator(MODEL), path)

    def test_bombs_and_broken_files_are_refused(self, models, tmp_path):
        generator = models.generator(MODEL)
        path = tmp_path / "bomb.png"
        side = int(MAX_IMAGE_PIXELS**0.5) + 1
        Image.new("1", (side, side)).save(path)  # small on the disk
        for read in (pictures.read_file, pictures.read_drawing):
            with pytest.raises(ValueError, match="bomb"):
                read(generator, path)
        with pytest.raises(ValueError, match="bomb"):
            pictures.read_strokes(generator, [path])
        whole = io.BytesIO()
        Image.effect_noise((64, 64), 50).save(whole, "png")
        (tmp_path / "broken.png").write_bytes(whole.getvalue()[:-500])
        with pytest.raises(ValueError, match=r"broken\.png cannot be used"):
            pictures.read_file(generator, tmp_path / "broken.png")

    def test_what_is_downloaded_is_what_was_read(self, models, tmp_path):
        generator = models.generator(MODEL)
        Image.effect_noise((50, 40), 90).save(tmp_path / "own.jpg")
        found = pictures.read_file(generator, tmp_path / "own.jpg")
        path = pictures.png(tmp_path, "own.png", found.pixels, generator.padding)
        again = pictures.read_file(generator, path)
        np.testing.assert_array_equal(again.pixels, found.pixels)
        with np.load(pictures.npz(tmp_path, "own.npz", pixels=found.pixels)) as file:
            np.testing.assert_array_equal(file["pixels"], found.pixels)

    def test_a_drawing(self, models):
        image = np.zeros((320, 320, 4), np.uint8)
        image[80:160, 80:240] = 255
        memory = io.BytesIO()
        Image.fromarray(image).save(memory, "png")
        found = pictures.read_drawing(models.generator(MODEL), memory).pixels[0, ..., 0]
        assert found.min() == found[5, 6] == 1  # what is transparent is white, too
        negative = pictures.read_drawing(models.generator(MODEL), memory, negative=True)
        np.testing.assert_allclose(negative.pixels[0, ..., 0], 1 - found, atol=1e-6)
        mask = pictures.read_strokes(models.generator(MODEL), [memory])[0]
        expected = np.zeros((16, 16), bool)
        expected[4:8, 4:12] = True
        np.testing.assert_array_equal(mask, expected)

    def test_strokes_over_nothing_and_over_all(self, models):
        for alpha, words in ((0, "nothing"), (255, "all of it")):
            memory = io.BytesIO()
            Image.new("RGBA", (32, 32), (1, 2, 3, alpha)).save(memory, "png")
            with pytest.raises(ValueError, match=words):
                pictures.read_strokes(models.generator(MODEL), [memory])

    def test_what_is_shown(self):
        pixels = np.linspace(0, 1, 2 * 6 * 6 * 3, dtype=np.float32).reshape(2, 6, 6, 3)
        shown = pictures.shown(pixels, padding=1)
        np.testing.assert_array_equal(shown[:, 4:], np.rint(255 * pixels[1, 1:-1, 1:-1]))
        assert pictures.enlarged(pixels[:1, ..., :1]).shape == (396, 396, 3)


class TestEmbedding:
    def test_needs_an_image_and_a_method(self, models):
        with pytest.raises(ValueError, match="Choose an image first"):
            embedding.embed(models, MODEL, None, "implicit")
        with pytest.raises(ValueError, match="`method`"):
            embedding.embed(models, MODEL, pictures.sample(models, MODEL, 1), "unet")
        with pytest.raises(ValueError, match="Embed an image first"):
            next(embedding.refine(models, None, 1))

    def test_the_python_does_the_same(self, models, work, ran):
        found = ran(embedding.code(models, work))["result"]
        np.testing.assert_allclose(found.latents, work.embedding.latents, **SAME)

    def test_refinement_improves_and_can_be_left_at_any_round(self, models):
        # Near the latents from which an image was made, L-BFGS descends.
        generator = models.generator(MODEL)
        latents = 0.2 * generator.latents(1)  # whose pixels need no clipping
        picture = pictures.Picture(generator.decode(latents).numpy().clip(0, 1), "", "made")
        noise = 0.05 * generator.latents(1, seed=1)
        found = de.Solution(latents + noise, evaluations=2).certify(generator, picture.pixels)
        rounds = embedding.refine(models, embedding.Work(MODEL, picture, "unet", found), 50)
        first, second = next(rounds), next(rounds)
        rounds.close()  # "Stop"
        errors = [each.mse[0] for each in (found, first.embedding, second.embedding)]
        assert errors[0] > errors[1] >= errors[2]
        evaluations = [each.evaluations[0] for each in (found, first.embedding, second.embedding)]
        assert evaluations[0] < evaluations[1] < evaluations[2]

    def test_the_python_of_a_refinement_does_the_same(self, models, work, ran):
        *_, refined = embedding.refine(models, work, 2)
        assert refined.rounds == 2
        found = ran(embedding.code(models, refined))["result"]
        np.testing.assert_allclose(found.latents, refined.embedding.latents, **SAME)
        with pytest.raises(ValueError, match="`rounds`"):
            next(embedding.refine(models, work, 51))

    def test_what_is_shown_and_downloaded(self, models, work, tmp_path):
        latents, reconstruction, difference = embedding.views(models, work)
        assert latents.shape == reconstruction.shape == difference.shape == (16, 16)
        decoded = np.rint(255 * work.embedding.reconstruction[0, ..., 0].clip(0, 1))
        np.testing.assert_array_equal(reconstruction, decoded)
        table = embedding.certificate(models, work)
        assert f"{work.embedding.mse[0]:.6f}" in table
        assert ("| yes |" in table) == bool(work.embedding.converged[0])
        arrays, image, other = embedding.files(models, work, tmp_path)
        with np.load(arrays) as file:
            np.testing.assert_array_equal(file["latents"], work.embedding.latents)
        np.testing.assert_array_equal(np.asarray(Image.open(other)), decoded)
        assert os.path.basename(image) == "fashion_mnist-2.png"


class TestInterpolation:
    def test_the_python_does_the_same(self, models, work, ran):
        *_, refined = embedding.refine(models, work, 1)
        other = pictures.sample(models, MODEL, 5)
        found = interpolation.path(models, refined, other, "spherical")
        assert found.frames.shape == (interpolation.FRAMES, 16, 16, 1)
        np.testing.assert_allclose(found.frames[0], refined.embedding.reconstruction[0], **SAME)
        np.testing.assert_allclose(ran(found.code)["frames"], found.frames, **SAME)

    def test_needs_two_images(self, models, work):
        for first, other in ((None, work.picture), (work, None)):
            with pytest.raises(ValueError, match="first"):
                interpolation.path(models, first, other, "linear")


class TestRepair:
    @pytest.fixture
    def strokes(self, models, work):
        """The editor's files: the image with a white square, and the square alone."""
        image = Image.fromarray(pictures.enlarged(work.picture.pixels)).convert("RGBA")
        layer = Image.new("RGBA", image.size)
        layer.paste((255, 255, 255, 255), (100, 100, 200, 200))
        files = [io.BytesIO(), io.BytesIO()]
        for picture, file in zip((Image.alpha_composite(image, layer), layer), files, strict=True):
            picture.save(file, "png")
        return files

    @pytest.mark.parametrize("drawn", [repair.FREE, repair.KEPT])
    def test_the_python_does_the_same(self, models, work, strokes, ran, tmp_path, drawn):
        composite, layer = strokes
        found = repair.project(models, work, composite, [layer], drawn)
        assert found.mask.sum() == 16
        outside = ~found.mask[..., None]
        np.testing.assert_array_equal(found.pixels[outside], work.picture.pixels[outside])
        assert found.pixels[found.mask].min() > 0.9
        for path in repair.files(models, work, found, tmp_path):
            os.replace(path, os.path.basename(path))
        same = ran(found.code)["projection"]
        np.testing.assert_allclose(same.latents, found.embedding.latents, **SAME)
        assert same.mse == pytest.approx(found.embedding.mse, rel=1e-2)

    def test_needs_an_image(self, models, strokes):
        with pytest.raises(ValueError, match="Embed an image first"):
            repair.project(models, None, strokes[0], strokes[1:], repair.FREE)


class TestAttributes:
    @pytest.mark.parametrize("system", [attributes.H_SPACE, attributes.VECTORS])
    def test_the_python_does_the_same(self, models, work, ran, system):
        assert system in attributes.systems(models, MODEL)
        names = attributes.names(models, MODEL, system)
        wanted = [(names[3], 1.0), (names[8], -0.5), (names[0], 0.0)]
        found = attributes.edit(models, work, system, wanted)
        assert np.abs(found.after - found.before).max() > 1e-3
        np.testing.assert_allclose(ran(found.code)["edited"], found.after, **SAME)

    @pytest.mark.parametrize("system", [attributes.H_SPACE, attributes.VECTORS])
    def test_strength_0_is_the_image_itself(self, models, work, ran, system):
        names = attributes.names(models, MODEL, system)
        found = attributes.edit(models, work, system, [(names[0], 0)])
        np.testing.assert_array_equal(found.after, found.before)
        np.testing.assert_allclose(ran(found.code)["edited"], found.after, **SAME)

    def test_what_ships_is_taken(self, work, ran, tmp_path):
        record_autoencoder(tmp_path)
        plain = Models(tmp_path, num_steps=2)
        editor = de.HSpaceEditor(plain.generator(MODEL))
        pixels, labels = de.load_images(MODEL, "test", source="sample", limit=20, image_size=16)
        smiling = editor.fit(pixels, labels == 8, "Smiling")
        de.record_direction(tmp_path, MODEL, smiling, data="none")
        vectors = np.random.default_rng(0).normal(size=(40, 3))
        classifier = de.fit_attribute_classifier(vectors, vectors[:, :1] > 0, ["first"])
        about = {"data": "none", "budget": {}, "errors": {}}
        de.record_attribute_classifier(tmp_path, MODEL, classifier, **about)
        models = Models(tmp_path, num_steps=2)
        assert attributes.names(models, MODEL, attributes.H_SPACE) == ["Smiling"]
        assert attributes.names(models, MODEL, attributes.VECTORS) == ["first"]
        for system, name in ((attributes.H_SPACE, "Smiling"), (attributes.VECTORS, "first")):
            found = attributes.edit(models, work, system, [(name, 2)])
            assert "load_images" not in found.code.partition(work.picture.code())[2]
            np.testing.assert_allclose(ran(found.code)["edited"], found.after, **SAME)

    def test_where_there_are_none(self, shipped, models, work):
        assert attributes.systems(shipped, "cifar10") == []
        assert attributes.names(shipped, "cifar10", attributes.H_SPACE) == []
        with pytest.raises(ValueError, match="`attribute`"):
            attributes.edit(models, work, attributes.H_SPACE, [("Smiling", 1)])
        with pytest.raises(ValueError, match="no attributes"):
            attributes.edit(models, work, "pixels", [("Smiling", 1)])


class TestCloud:
    def test_the_python_does_the_same(self, models, work, ran):
        *_, found = cloud.find(models, work, 6)
        walked = cloud.walk(models, found, 2)
        assert walked.frames.shape == (cloud.PLACES, 16, 16, 1)
        assert "6 members" in cloud.summary(found)
        names = ran(walked.code)
        latents = names["members"].latents
        np.testing.assert_allclose(latents, found.members.latents, **SAME)
        # An eigenvector has no sign of its own.
        frames = names["frames"]
        assert any(np.allclose(x, walked.frames, atol=0.05) for x in (frames, frames[::-1]))

    def test_the_search_can_be_left(self, models, work):
        search = cloud.find(models, work, cloud.MOST_MEMBERS)
        found = next(search)
        search.close()  # "Stop"
        assert len(found.members.mse) == cloud.BATCH
        assert cloud.walk(models, found, cloud.BATCH - 1).frames.std() > 0

    def test_needs_an_image_and_members(self, models, work):
        with pytest.raises(ValueError, match="Embed an image first"):
            next(cloud.find(models, None, 4))
        with pytest.raises(ValueError, match="Find members"):
            cloud.walk(models, None, 1)
        with pytest.raises(ValueError, match="`count`"):
            next(cloud.find(models, work, cloud.MOST_MEMBERS + 1))


class TestControls:
    def test_refusals_are_sentences_without_html(self):
        @controls.guarded
        def refused():
            raise ValueError("<img src=x>\nis no image")

        @controls.guarded
        def refused_later():
            yield 1
            raise OSError("a full disk")

        with pytest.raises(gr.Error, match="&lt;img src=x&gt; is no image"):
            refused()
        later = refused_later()
        assert next(later) == 1
        with pytest.raises(gr.Error, match="a full disk"):
            next(later)

    def test_faults_of_the_program_stay_faults(self):
        with pytest.raises(KeyError):
            controls.guarded(lambda: {}["missing"])()

    def test_a_progress_bar(self):
        assert '<progress value="3" max="10">' in controls.progress(3, 10, "Rounds")

    def test_no_telemetry(self):
        from gradio import analytics

        assert not analytics.analytics_enabled()

    def test_files_of_a_drawing_are_not_opened_by_gradio(self, tmp_path):
        from gradio.data_classes import FileData

        path = tmp_path / "bomb.png"
        path.write_bytes(b"no image")
        with gr.Blocks():
            drawing = controls.drawing("Draw")
        assert drawing.convert_and_format_image(FileData(path=str(path))) == str(path)
        assert drawing.convert_and_format_image(b"bytes") == b"bytes"
        assert drawing.convert_and_format_image(None) is None
