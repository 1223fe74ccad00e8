import errno
import os
from pathlib import Path

import pytest

from kt_transfer import UserError
from kt_transfer.data.folders import find_pictures


def found(root, *paths, is_picture=lambda path: False):
    """Files at these paths, and what is read of them: split, class and name; and the notes."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            (root / path).touch()
        else:
            (root / path).mkdir(exist_ok=True)
    pictures, notes, _ = find_pictures("images:SET", root, is_picture)
    read = [
        ("test" if picture.is_test else "train", picture.class_name, picture.path.name)
        for picture in pictures
    ]
    return read, notes


def test_a_folder_called_train_is_a_class_where_it_holds_pictures(tmp_path):
    read, notes = found(tmp_path, "bus/1.png", "car/2.png", "train/3.png", "test/4.png")
    assert read == [
        ("train", "bus", "1.png"),
        ("train", "car", "2.png"),
        ("train", "test", "4.png"),
        ("train", "train", "3.png"),
    ]
    assert notes == []


@pytest.mark.parametrize("name", ["train", "Training", "test", "val"])
def test_splits_beside_classes_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}/.* folders of its own \(bus, car\), beside bike"):
        found(tmp_path, f"{name}/bus/1.png", f"{name}/car/2.png", "bike/3.png")


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("training", "testing"), ("Train", "TEST")]
)
def test_splits_by_other_names(tmp_path, train, test):
    read, notes = found(tmp_path, f"{train}/a/1.png", f"{train}/b/2.png", f"{test}/a/3.png")
    assert read == [("train", "a", "1.png"), ("train", "b", "2.png"), ("test", "a", "3.png")]
    assert notes == []


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_validation_is_training_beside_a_test_folder(tmp_path, name):
    read, notes = found(tmp_path, "train/a/1.png", f"{name}/a/2.png", "test/a/3.png")
    assert read == [("train", "a", "1.png"), ("train", "a", "2.png"), ("test", "a", "3.png")]
    assert notes == [f"{name}/ serves as further training examples"]


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_validation_is_the_test_part_where_there_is_no_other(tmp_path, name):
    read, notes = found(tmp_path, "train/a/1.png", f"{name}/a/2.png")
    assert read == [("train", "a", "1.png"), ("test", "a", "2.png")]
    assert notes == [f"{name}/ serves as test examples"]


@pytest.mark.parametrize("name", ["unlabelled", "unlabeled", "Unlabeled", "unsup"])
@pytest.mark.parametrize("where", ["", "train/"])
def test_unlabelled_pictures_have_no_class(tmp_path, name, where):
    read, notes = found(tmp_path, f"{where}{name}/1.png", "train/a/2.png", "test/a/3.png")
    assert sorted(read, key=str) == [
        ("test", "a", "3.png"),
        ("train", "a", "2.png"),
        ("train", None, "1.png"),
    ]
    assert notes == []


def test_splits_without_classes_are_unlabelled(tmp_path):
    read, _ = found(tmp_path, "train/1.png", "test/2.png")
    assert read == [("train", None, "1.png"), ("test", None, "2.png")]


def test_pictures_beside_classes_have_none_and_are_counted(tmp_path):
    read, notes = found(tmp_path, "a/1.png", "b/2.png", "3.png")
    assert read == [("train", "a", "1.png"), ("train", "b", "2.png"), ("train", None, "3.png")]
    assert notes == [f"no class for 1 directly in {tmp_path.name}/"]


def test_two_folders_for_one_split_are_refused(tmp_path):
    with pytest.raises(UserError, match="both train/ and training/"):
        found(tmp_path, "train/a/1.png", "training/a/2.png")


def test_what_is_left_out_is_counted(tmp_path):
    read, notes = found(
        tmp_path,
        *("a/1.JFIF", "a/2.TIFF", "a/3.jpe", "a/4.heic", "a/5.HEIC", "a/notes.txt", "a/LICENSE"),
        *("a/.DS_Store", "a/Thumbs.db", ".git/6.png", "__MACOSX/7.png", "list.csv", "empty/"),
    )
    assert [name for *_, name in read] == ["1.JFIF", "2.TIFF", "3.jpe"]
    assert notes == [
        "without a picture: empty/",
        "left out: 1 .csv, 2 .heic, 1 .txt, 1 without suffix",
    ]


def test_a_class_is_told_where_its_folder_has_others_within(tmp_path):
    read, notes = found(tmp_path, "dog/poodle/1.png", "dog/boxer/2.png", "cat/3.png")
    assert [(name, file) for _, name, file in read] == [
        ("cat", "3.png"),
        ("dog", "2.png"),
        ("dog", "1.png"),
    ]
    assert notes == ["with the folders further in: dog/"]


def test_a_class_that_is_in_the_test_part_only_is_told(tmp_path):
    _, notes = found(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/c/4.png")
    assert notes == ["no training example of c"]


def test_annotations_beside_the_splits_are_left_out(tmp_path):
    read, notes = found(tmp_path, "train/a/1.png", "test/a/2.png", "labels/1.xml")
    assert len(read) == 2
    assert notes == ["without a picture: labels/", "left out: 1 .xml"]


def test_links_are_followed_once_and_broken_ones_counted(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").touch()
    root = tmp_path / "set"
    (root / "a").mkdir(parents=True)
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "again").symlink_to(root / "a")
    (root / "a" / "gone.png").symlink_to(root / "absent")
    os.mkfifo(root / "a" / "pipe.png")
    read, notes = found(root, "a/2.png")
    assert read == [("train", "a", "2.png"), ("train", "b", "1.png")]
    assert notes == ["left out: 1 broken link, 1 special file"]


def test_content_tells_a_picture_where_the_name_does_not(tmp_path):
    read, notes = found(tmp_path, "a/photo", "a/text", is_picture=lambda path: path.name == "photo")
    assert read == [("train", "a", "photo")]
    assert notes == ["left out: 1 without suffix"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    """Its error, since root, as whom tests may run, may read all."""

    def closed(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(UserError, match=f"{tmp_path} may not .Permission denied.: give its perm"):
        find_pictures("images:SET", tmp_path, lambda path: True)
