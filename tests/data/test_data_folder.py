import os

import numpy as np
import pytest

from gpunn.data import folder, load, read_image
from gpunn.errors import DataError

Image = pytest.importorskip("PIL.Image")


def save(path, value, size=(4, 6), mode="RGB", **options):
    """An image of one colour, (height, width) ``size``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], value).save(path, **options)
    return path


@pytest.fixture
def unsplit(tmp_path):
    """Two classes of ten images; the red value tells them apart."""
    for i in range(10):
        save(tmp_path / "dog" / f"{i}.png", (100 + i, 0, 0))
        save(tmp_path / "cat" / f"{i}.bmp", (i, 0, 0))
    return tmp_path


def red(dataset):
    return dataset.images[:, 0, 0, 0].tolist()


def test_seeded_split(unsplit):
    train, test = (load(f"folder:{unsplit}", train=part, seed=1) for part in (True, False))
    assert train.classes == test.classes == ["cat", "dog"]
    assert (len(train), len(test)) == (16, 4)
    assert sorted(red(train) + red(test)) == [*range(10), *range(100, 110)]
    for part in (train, test):
        assert part.images.shape[1:] == (3, 4, 6)
        assert part.images.flags.c_contiguous
        np.testing.assert_array_equal(part.labels, np.array(red(part)) >= 100)
    assert np.bincount(test.labels).tolist() == [2, 2]
    assert red(load(f"folder:{unsplit}", train=False, seed=1)) == red(test)
    assert any(red(load(f"folder:{unsplit}", train=False, seed=s)) != red(test) for s in (2, 3, 4))


@pytest.mark.parametrize("name", ["test", "val"])
def test_split_folders(tmp_path, name):
    save(tmp_path / "train" / "b" / "x.png", (1, 0, 0))
    save(tmp_path / "train" / "a" / "x.png", (2, 0, 0))
    save(tmp_path / name / "b" / "x.png", (3, 0, 0))
    train, test = folder.read(tmp_path), folder.read(tmp_path, train=False)
    assert red(train) == [2, 1] and train.labels.tolist() == [0, 1]
    assert red(test) == [3] and test.labels.tolist() == [1]
    assert test.classes == ["a", "b"]


def test_only_train_is_split_and_only_test_is_no_training_set(tmp_path):
    for i in range(5):
        save(tmp_path / "one" / "train" / "a" / f"{i}.png", (i, 0, 0))
    assert len(folder.read(tmp_path / "one", train=False)) == 1
    save(tmp_path / "two" / "test" / "a" / "x.png", (9, 0, 0))
    assert red(folder.read(tmp_path / "two", train=False)) == [9]
    with pytest.raises(DataError, match="no train/ folder"):
        folder.read(tmp_path / "two")


def test_classes_may_be_called_train_and_test(tmp_path):
    for name in ("train", "test", "bus"):
        save(tmp_path / name / "x.png", (1, 0, 0))
    assert folder.read(tmp_path).classes == ["bus", "test", "train"]


def test_class_that_training_does_not_have(tmp_path):
    save(tmp_path / "train" / "a" / "x.png", 1)
    save(tmp_path / "test" / "z" / "x.png", 1)
    with pytest.raises(DataError, match="class 'z' is not in the training set; it has a"):
        folder.read(tmp_path, train=False)


def test_formats_and_foreign_files(tmp_path):
    for suffix in ("jpg", "JPEG", "png", "bmp", "webp", "gif", "tif", "ppm"):
        save(tmp_path / "a" / "deeper" / f"x.{suffix}", (128, 128, 128), (8, 8))
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "a" / "._x.png").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    train, test = folder.read(tmp_path), folder.read(tmp_path, train=False)
    assert len(train) + len(test) == 8
    assert np.abs(train.images.astype(int) - 128).max() <= 3


def test_gray_or_rgb_as_the_first_image_or_as_asked(tmp_path):
    save(tmp_path / "gray" / "train" / "a" / "1.png", 50, mode="L")
    save(tmp_path / "gray" / "train" / "a" / "2.png", (50, 50, 50))
    save(tmp_path / "gray" / "test" / "a" / "1.png", (50, 50, 50))
    save(tmp_path / "rgb" / "train" / "a" / "1.png", (10, 20, 30, 128), mode="RGBA")
    save(tmp_path / "rgb" / "train" / "a" / "2.png", 7, mode="L")
    save(tmp_path / "rgb" / "test" / "a" / "1.png", 7, mode="L")
    for train in (True, False):
        assert folder.read(tmp_path / "gray", train).in_channels == 1
        assert folder.read(tmp_path / "rgb", train).in_channels == 3
    assert (folder.read(tmp_path / "gray").images == 50).all()
    assert folder.read(tmp_path / "rgb").images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert folder.read(tmp_path / "rgb").images[1, :, 0, 0].tolist() == [7, 7, 7]
    assert folder.read(tmp_path / "gray", channels=3).in_channels == 3
    assert folder.read(tmp_path / "rgb", channels=1).in_channels == 1
    with pytest.raises(ValueError, match=r"channels=1 \(gray\) or 3"):
        folder.read(tmp_path / "rgb", channels=4)


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 0x8001, np.uint16)).save(tmp_path / "train" / "a" / "x.png")
    save(tmp_path / "test" / "a" / "x.png", 1, (4, 4), "L")
    dataset = folder.read(tmp_path)
    assert dataset.in_channels == 1
    assert (dataset.images == 0x80).all()


@pytest.mark.parametrize(
    ("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1)], ids=["float", "above 16 bits", "negative"]
)
def test_more_than_sixteen_bits_are_refused(tmp_path, mode, value):
    """They would become black, or wrap around."""
    for part in ("train", "test"):
        save(tmp_path / part / "a" / "x.tiff", value, mode=mode)
    with pytest.raises(DataError, match=rf"x.tiff: expected 8 or 16 bits a channel, got 32 \(mode {mode}\); convert"):
        folder.read(tmp_path)


def test_sixteen_bits_in_a_wider_mode(tmp_path):
    pixels = read_image(save(tmp_path / "x.tiff", 0x8001, mode="I"))
    assert pixels.shape == (1, 4, 6)
    assert (pixels == 0x80).all()


def test_pillows_warnings_are_not_the_users(tmp_path, monkeypatch):
    """A palette with transparency, and an image larger than Pillow thinks safe. Warnings are errors here."""
    for part in ("train", "test"):
        image = Image.new("P", (6, 4), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        (tmp_path / part / "a").mkdir(parents=True)
        image.save(tmp_path / part / "a" / "x.png", transparency=bytes([0, 128]))
    assert read_image(tmp_path / "train" / "a" / "x.png")[:, 0, 0].tolist() == [10, 20, 30]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert folder.read(tmp_path).images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_class_whose_name_is_not_utf8(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/bad\xff")
    with pytest.raises(DataError, match=r"class 'bad\\udcff' has a name that is not UTF-8; rename it"):
        folder.read(tmp_path)


def test_images_that_memory_cannot_hold(unsplit):
    with pytest.raises(DataError, match=r"image size: 16 images of 3x\d+x\d+ need .* GiB, .*; give a smaller size"):
        folder.read(unsplit, image_size=2**40)


def test_orientation_tag_is_followed(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6  # a quarter turn
    save(tmp_path / "train" / "a" / "x.jpg", 1, (8, 16), exif=tag)
    save(tmp_path / "test" / "a" / "x.jpg", 1, (16, 8))
    assert folder.read(tmp_path).image_size == (16, 8)
    assert folder.read(tmp_path, train=False).image_size == (16, 8)


def test_size_that_differs_names_the_file(unsplit):
    odd = save(unsplit / "dog" / "3.png", 1, (5, 5))
    with pytest.raises(DataError, match=r"3.png: 5x5 pixels; expected 4x6 like .*0.bmp; give an image size"):
        [folder.read(unsplit, train=part) for part in (True, False)]
    for size, expected in ((8, (8, 8)), ((3, 7), (3, 7))):
        assert load(f"folder:{unsplit}", image_size=size).image_size == expected
    assert odd.exists()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(30), None])
def test_unreadable_file_is_named(unsplit, content):
    path = unsplit / "dog" / "4.png"
    if content is None:  # a real image, cut short
        content = path.read_bytes()[:-30]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"4.png: not a readable image") as caught:
        [folder.read(unsplit, train=part) for part in (True, False)]
    assert "\n" not in str(caught.value)


def test_empty_and_missing_folders(tmp_path, unsplit):
    (unsplit / "bird").mkdir()
    with pytest.raises(DataError, match=r"bird: no images in this class"):
        folder.read(unsplit)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match=r"^~nosuchuser/x: no home folder is known for it; write the path without ~$"):
        load("folder:~nosuchuser/x")
    with pytest.raises(DataError, match="no folders in it"):
        folder.read(unsplit / "dog")


def test_one_image_a_class_cannot_be_split(tmp_path):
    save(tmp_path / "a" / "x.png", 1, (1, 1))
    assert folder.read(tmp_path).images.shape == (1, 3, 1, 1)
    with pytest.raises(DataError, match="no test images: every class has one image"):
        folder.read(tmp_path, train=False)
