import gc
import threading
import time

import numpy as np
import pytest

from backends import philox
from gpunn.data import Cutout, DataLoader, Dataset, Normalize, RandomCrop, RandomHorizontalFlip
from gpunn.errors import DataError
from gpunn.random import AUGMENT, SHUFFLE, stream_of

N = 11
AUGMENTATION = (RandomCrop(padding=2), RandomHorizontalFlip(), Normalize((0.4,), (0.2,)), Cutout(3))


def dataset(n=N, side=6):
    """Image i is random but for its first pixel, which is i; label i % 3."""
    images = np.random.default_rng(0).integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    return Dataset(images, np.arange(n) % 3, "abc", "tiny")


def loader(prefetch=2, **options):
    options = {"batch_size": 4, "shuffle": True, "seed": 5, "transforms": AUGMENTATION} | options
    return DataLoader(dataset(), prefetch=prefetch, **options)


def position(source):
    """What of a loader's state changes as it goes on."""
    return {name: source.state_dict()[name] for name in ("epoch", "batch", "seed")}


def epochs(source, count):
    return [list(source) for _ in range(count)]


def assert_same(first, second):
    assert len(first) == len(second)
    for (images, labels), (other_images, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def indices(batches):
    return [round(float(value) * 255) for images, _ in batches for value in images[:, 0, 0, 0]]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "gpunn-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    if threads():  # an iteration that an assertion's traceback still holds
        gc.collect()
    assert threads() == []


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 11), (4, [4, 4, 3]), (11, [11]), (99, [11])])
def test_batches_in_order(batch_size, sizes, prefetch):
    source = DataLoader(dataset(), batch_size, prefetch=prefetch)
    batches = list(source)
    assert [len(images) for images, _ in batches] == sizes and len(source) == len(sizes)
    assert indices(batches) == list(range(N))
    for images, labels in batches:
        assert images.dtype == np.float32 and images.flags.c_contiguous and images.shape[1:] == (1, 6, 6)
        assert labels.dtype == np.int64
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), dataset().labels)


def test_drop_last():
    source = DataLoader(dataset(), 4, drop_last=True)
    assert len(source) == 2
    assert [len(images) for images, _ in source] == [4, 4]
    assert len(DataLoader(dataset(), 11, drop_last=True)) == 1


def test_uint8_is_scaled_as_pytorch_does():
    source = dataset()
    (images, _), *_ = DataLoader(source, N)
    np.testing.assert_array_equal(images, source.images.astype(np.float32) / np.float32(255))


def test_float_images_are_not_scaled_and_not_shared():
    source = Dataset(np.full((3, 1, 2, 2), 7.0), np.zeros(3, int), "a")
    for data in (source, Dataset(source.images.astype(np.float32), source.labels, "a")):
        for images, labels in DataLoader(data, 3):
            assert images.dtype == np.float32 and (images == 7).all()
            images[:], labels[:] = 0, 5
        assert (data.images == 7).all() and (data.labels == 0).all()


def test_order_of_each_epoch_by_contract():
    source = DataLoader(dataset(), 3, shuffle=True, seed=8)
    for epoch in range(3):
        expected = philox.permutation(8, stream_of(SHUFFLE, epoch), N)
        assert indices(source) == expected.tolist()


def test_streams_of_augmentation_by_contract():
    seen = []

    def spy(batch, seed, stream, start):
        seen.append((seed, stream, start))
        return batch

    source = DataLoader(dataset(), 4, seed=3, transforms=[spy, spy])
    epochs(source, 2)
    assert seen == [
        (3, stream_of(AUGMENT, (epoch << 8) | number), start)
        for epoch in range(2)
        for start in (0, 4, 8)
        for number in range(2)
    ]


def test_augmentation_does_not_depend_on_the_batch_size():
    whole = [np.concatenate([x for x, _ in epoch]) for epoch in epochs(loader(batch_size=N), 2)]
    for size in (1, 3, 4):
        parts = [np.concatenate([x for x, _ in epoch]) for epoch in epochs(loader(batch_size=size), 2)]
        for part, expected in zip(parts, whole, strict=True):
            np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("prefetch", [1, 2, 7])
def test_prefetch_changes_nothing(prefetch):
    for plain, ahead in zip(epochs(loader(0), 3), epochs(loader(prefetch), 3), strict=True):
        assert_same(plain, ahead)


def test_seed_decides():
    first, second, other = (epochs(loader(seed=seed), 2) for seed in (5, 5, 6))
    for one, two in zip(first, second, strict=True):
        assert_same(one, two)
    assert any((a != b).any() for (a, _), (b, _) in zip(first[0], other[0], strict=True))
    assert any((a != b).any() for (a, _), (b, _) in zip(first[0], first[1], strict=True))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_resume_at_every_position(prefetch):
    reference = [batch for epoch in epochs(loader(0), 3) for batch in epoch]
    per_epoch = 3
    for taken in range(2 * per_epoch + 1):
        first = loader(prefetch)
        count = 0
        while count < taken:
            for _ in first:
                count += 1
                if count == taken:
                    state = first.state_dict()
                    break
        if not taken:
            state = first.state_dict()
        second = loader(prefetch, seed=99)
        second.load_state_dict(state)
        assert second.state_dict() == state
        rest = []
        while second.epoch < 3:
            rest += list(second)
        assert_same(rest, reference[taken:])


def test_state_while_iterating():
    source = loader()
    assert position(source) == {"epoch": 0, "batch": 0, "seed": 5}
    for number, _ in enumerate(source):
        assert position(source) == {"epoch": 0, "batch": number + 1, "seed": 5}
    assert position(source) == {"epoch": 1, "batch": 0, "seed": 5}


def test_prefetched_batches_do_not_count_as_delivered():
    source = loader(50)
    iterator = iter(source)
    next(iterator)
    time.sleep(0.02)  # the thread has made all batches by now
    assert source.state_dict()["batch"] == 1
    iterator.close()


def test_state_after_the_last_batch_leaves_an_empty_remainder():
    source = loader()
    iterator = iter(source)
    for _ in range(3):
        next(iterator)
    state = source.state_dict()
    assert position(source) == {"epoch": 0, "batch": 3, "seed": 5}
    iterator.close()
    source.load_state_dict(state)
    assert list(source) == []
    assert position(source) == {"epoch": 1, "batch": 0, "seed": 5}
    assert_same(list(source), epochs(loader(), 2)[1])


@pytest.mark.parametrize("prefetch", [0, 2])
def test_abandoned_iteration_starts_over(prefetch):
    source = loader(prefetch)
    for _ in source:
        break
    assert source.state_dict()["batch"] == 1
    assert_same(list(source), epochs(loader(), 1)[0])
    assert source.epoch == 1


def test_exception_in_the_loop_keeps_the_position():
    source = loader()
    with pytest.raises(KeyboardInterrupt):
        for number, _ in enumerate(source):
            if number == 1:
                raise KeyboardInterrupt
    assert position(source) == {"epoch": 0, "batch": 2, "seed": 5}


def test_two_iterations_at_once_see_the_same_epoch():
    source = loader()
    for (a, _), (b, _) in zip(source, source, strict=True):
        np.testing.assert_array_equal(a, b)
    assert position(source) == {"epoch": 1, "batch": 0, "seed": 5}


def test_abandoned_iterations_leave_no_thread():
    for _ in range(20):
        iterator = iter(loader(1))
        next(iterator)
        del iterator
    gc.collect()
    assert threads() == []
    unused = iter(loader())  # never asked for a batch: never started
    assert threads() == []
    del unused


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_error_of_a_transform_reaches_the_caller(prefetch):
    def break_second(batch, seed, stream, start):
        if start >= 4:
            raise RuntimeError("broken image")
        return batch

    source = loader(prefetch, transforms=[break_second])
    iterator = iter(source)
    next(iterator)
    with pytest.raises(RuntimeError, match="broken image"):
        next(iterator)
    assert source.state_dict()["batch"] == 1
    with pytest.raises(StopIteration):
        next(iterator)


def test_thread_stays_at_most_so_far_ahead():
    made = []

    def count(batch, seed, stream, start):
        made.append(start)
        return batch

    iterator = iter(DataLoader(dataset(), 1, transforms=[count], prefetch=3))
    next(iterator)
    deadline = time.monotonic() + 2
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(made) == 4
    iterator.close()


def test_one_pixel_images():
    source = Dataset(np.array([[[[255]]], [[[0]]]], np.uint8), np.array([0, 1]), "ab")
    batches = list(DataLoader(source, 1, transforms=[RandomCrop(), RandomHorizontalFlip()]))
    assert [float(images[0, 0, 0, 0]) for images, _ in batches] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size >= 1, got 0"),
        ({"batch_size": -3}, "got -3"),
        ({"prefetch": -1}, "prefetch >= 0, got -1"),
        ({"transforms": RandomCrop()}, "expected a sequence of transforms"),
        ({"transforms": ["flip"]}, "expected a sequence of transforms"),
        ({"transforms": [RandomCrop()] * 257}, "at most 256 transforms, got 257"),
        ({"batch_size": 12, "drop_last": True}, "11 images make no batch of 12"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        DataLoader(dataset(), **options)
    assert "\n" not in str(caught.value)


def test_empty_dataset():
    with pytest.raises(DataError, match="tiny: no images; expected at least one"):
        DataLoader(dataset().subset([]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": None}, "the state lacks seed; expected epoch, batch, seed, images"),
        ({"epoch": None, "batch": None, "images": None}, "lacks batch, epoch, images"),
        ({"batch": 4}, "epoch 0, batch 4; an epoch has 3 batches here"),
        ({"batch": -1}, "batch -1"),
        ({"epoch": -1}, "epoch -1"),
    ],
)
def test_wrong_state(changes, message):
    source = loader()
    state = {name: value for name, value in (source.state_dict() | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        source.load_state_dict(state)
    assert position(source) == {"epoch": 0, "batch": 0, "seed": 5}


def test_state_of_another_loader():
    """Positions mean nothing in other data, nor in batches of another size."""
    source = loader()
    more = Dataset(np.concatenate([dataset().images] * 2), np.concatenate([dataset().labels] * 2), dataset().classes)
    other_labels = Dataset(dataset().images, dataset().labels[::-1], dataset().classes)
    for other, name in (
        (loader(batch_size=8), "batch_size=8, this loader batch_size=4"),
        (loader(shuffle=False), "shuffle=False, this loader shuffle=True"),
        (loader(drop_last=True), "drop_last=True"),
        (DataLoader(more, 4, shuffle=True), "images=22, this loader images=11"),
        (DataLoader(other_labels, 4, shuffle=True), "labels_crc32="),
    ):
        with pytest.raises(ValueError, match=name) as caught:
            source.load_state_dict(other.state_dict())
        assert str(caught.value).endswith("; use the data and the options it was saved with")
    assert position(source) == {"epoch": 0, "batch": 0, "seed": 5}
