import numpy as np
import pytest

from gpunn.data import folder, load
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
    with pytest.raises(DataError, match="no folders in it"):
        folder.read(unsplit / "dog")


def test_one_image_a_class_cannot_be_split(tmp_path):
    save(tmp_path / "a" / "x.png", 1, (1, 1))
    assert folder.read(tmp_path).images.shape == (1, 3, 1, 1)
    with pytest.raises(DataError, match="no test images: every class has one image"):
        folder.read(tmp_path, train=False)
