"""Find the pictures in a folder, with their classes and splits."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from kt_transfer.errors import UserError, listed

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".webp", ".tif", ".tiff")
)
_TRAIN, _VALIDATION, _TEST = "train", "validation", "test"
_SPLITS = {
    **dict.fromkeys(("train", "training"), _TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), _VALIDATION),
    **dict.fromkeys(("test", "testing"), _TEST),
}
_UNLABELLED = ("unlabelled", "unlabeled", "unsup")
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")


class Found(NamedTuple):
    """A picture: its file, the name of its class or ``None``, and its split."""

    path: Path
    class_name: str | None
    is_test: bool


class LeftOut(NamedTuple):
    """A file that is not read, and what it is instead of a picture."""

    path: Path
    what: str


def find_pictures(
    spec: str, root: Path, is_picture: Callable[[Path], bool]
) -> tuple[list[Found], list[str], list[LeftOut]]:
    """Find all pictures below a folder, with messages about how it was read, and the other files.

    Each folder is a class, or ``train/``, ``test/`` and ``val/`` contain such folders; the content
    of a folder named ``train`` decides which. Pictures in ``unlabelled/`` or beside the class
    folders have no class.

    Args:
        spec: The data spec, for messages.
        root: The folder, or one picture.
        is_picture: Whether a file without a known suffix is a picture.

    Raises:
        UserError: If there is no picture, or the folders are ambiguous.
    """
    try:
        return _found_in(spec, root, is_picture)
    except PermissionError as error:
        raise UserError(
            setting="data",
            given=spec,
            expected="folders that may be read",
            but=f"{error.filename} may not ({error.strerror})",
            remedy="give its permissions, or move it away",
        ) from error


def _found_in(spec: str, root: Path, is_picture: Callable[[Path], bool]) -> tuple:
    if root.is_file():
        return [Found(root, None, False)], [], []
    if not root.is_dir():
        raise _no_pictures(spec, root)
    reading = _Reading(spec, is_picture)
    tops = reading.folders_in(root)
    splits = _split_folders(spec, reading, tops)
    if splits is None:
        reading.add_classes(root, is_test=False)
    else:
        reading.add_splits(root, splits, [top for top in tops if top not in splits.values()])
    if not reading.found:
        raise _no_pictures(spec, root)
    return reading.found, reading.notes(), reading.left_out


def _no_pictures(spec: str, root: Path) -> UserError:
    return UserError(
        setting="data",
        given=spec,
        expected=f"one folder of pictures per class ({', '.join(sorted(SUFFIXES))})",
        but="there is none",
        remedy=f"put them in {root}/CLASS/",
    )


def _split_folders(spec: str, reading: _Reading, tops: list[Path]) -> dict[str, Path] | None:
    """The folder of each split; ``None`` if the folders are classes."""
    called = [top for top in tops if top.name.casefold() in _SPLITS and reading.has_pictures(top)]
    others = [
        top
        for top in tops
        if top not in called
        and top.name.casefold() not in _UNLABELLED
        and reading.has_pictures(top)
    ]
    with_classes = [top for top in called if reading.has_class_folders(top)]
    if not called or (others and not with_classes):
        return None
    if others:
        inner = listed(folder.name for folder in reading.folders_in(with_classes[0]))
        raise UserError(
            setting="data",
            given=spec,
            when=f"with the folder {with_classes[0].name}/, which holds folders of its own "
            f"({inner}), beside {listed(top.name for top in others)}",
            expected="either one folder of pictures per class or train/ and test/ with such "
            "folders",
            remedy="move the classes into train/, or the pictures of the class directly into its "
            "folder",
        )
    splits: dict[str, Path] = {}
    for top in called:
        split = _SPLITS[top.name.casefold()]
        if split in splits:
            raise UserError(
                setting="data",
                given=spec,
                when=f"with both {splits[split].name}/ and {top.name}/",
                expected=f"one folder for {split}",
                remedy="move their pictures together",
            )
        splits[split] = top
    return splits


class _Reading:
    """The pictures found so far, and the files that were skipped."""

    def __init__(self, spec: str, is_picture: Callable[[Path], bool]):
        self.spec = spec
        self.found: list[Found] = []
        self._is_picture = is_picture
        self.left_out: list[LeftOut] = []
        self._remarks: list[str] = []
        self._empty: list[str] = []
        self._nested: list[str] = []
        self._looked_at: dict[Path, tuple[list[Path], list[LeftOut]]] = {}

    def folders_in(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path))

    def has_pictures(self, folder: Path) -> bool:
        return bool(self._look(folder)[0])

    def has_class_folders(self, folder: Path) -> bool:
        return any(map(self.has_pictures, self.folders_in(folder)))

    def add_classes(self, folder: Path, *, is_test: bool, within: str = "") -> None:
        """Add one folder per class; pictures beside them are unlabelled."""
        inner_folders = self.folders_in(folder)
        for inner in inner_folders:
            pictures, left_out = self._look(inner)
            self.left_out += left_out
            is_class = inner.name.casefold() not in _UNLABELLED
            if not pictures:
                self._empty.append(f"{within}{inner.name}/")
            elif is_class and any(path.parent != inner for path in pictures):
                self._nested.append(f"{within}{inner.name}/")
            self._add(pictures, readable_name(inner.name) if is_class else None, is_test)
        self._add_beside(folder, is_test, bool(inner_folders))

    def add_splits(self, root: Path, splits: dict[str, Path], others: list[Path]) -> None:
        """Add the classes of each split; without a test part, validation takes its place."""
        has_test = _TEST in splits
        for split in (_TRAIN, _VALIDATION, _TEST):
            if split not in splits:
                continue
            folder = splits[split]
            is_test = split == _TEST or (split == _VALIDATION and not has_test)
            self.add_classes(folder, is_test=is_test, within=f"{folder.name}/")
            if split == _VALIDATION:
                use = "test examples" if is_test else "further training examples"
                self._remarks.append(f"{folder.name}/ serves as {use}")
        for other in others:  # unlabelled, or without a picture
            pictures, left_out = self._look(other)
            self.left_out += left_out
            self._add(pictures, None, False)
            if not pictures:
                self._empty.append(f"{other.name}/")
        self._add_beside(root, False, True)

    def notes(self) -> list[str]:
        notes = list(self._remarks)
        known = {found.class_name for found in self.found if not found.is_test}
        only_test = {found.class_name for found in self.found if found.is_test} - known - {None}
        if only_test and known:
            notes.append(f"no training example of {listed(sorted(only_test))}")
        if self._nested:
            notes.append(f"with the folders further in: {listed(self._nested)}")
        if self._empty:
            notes.append(f"without a picture: {listed(self._empty)}")
        if self.left_out:
            kinds = collections.Counter(file.what for file in self.left_out)
            counts = (f"{count} {what}" for what, count in sorted(kinds.items()))
            notes.append(f"left out: {listed(counts)}")
        return notes

    def _add_beside(self, folder: Path, is_test: bool, is_noted: bool) -> None:
        """Add pictures directly in a folder of class folders."""
        pictures, left_out = self._sorted_out(
            path for path in sorted(folder.iterdir()) if not path.is_dir() and not _is_hidden(path)
        )
        self.left_out += left_out
        self._add(pictures, None, is_test)
        if pictures and is_noted:
            self._remarks.append(f"no class for {len(pictures)} directly in {folder.name}/")

    def _add(self, pictures: list[Path], class_name: str | None, is_test: bool) -> None:
        self.found += [Found(path, class_name, is_test) for path in pictures]

    def _look(self, folder: Path) -> tuple[list[Path], list[LeftOut]]:
        """Pictures in a folder and its subfolders, and other files."""
        if folder not in self._looked_at:
            closed: list[LeftOut] = []
            pictures, left_out = self._sorted_out(sorted(_files_below(folder, closed)))
            self._looked_at[folder] = pictures, left_out + closed
        return self._looked_at[folder]

    def _sorted_out(self, paths: Iterable[Path]) -> tuple[list[Path], list[LeftOut]]:
        pictures, left_out = [], []
        for path in paths:
            suffix = path.suffix.lower()
            if not path.is_file():
                what = "broken link" if path.is_symlink() else "special file"
                left_out.append(LeftOut(path, what))
            elif suffix in SUFFIXES or self._is_picture(path):
                pictures.append(path)
            else:
                left_out.append(LeftOut(path, suffix or "without suffix"))
        return pictures, left_out


def _files_below(folder: Path, closed: list[LeftOut]) -> list[Path]:
    """Every file; links to folders are followed, but each folder only once.

    Folders without permission are added to ``closed``.
    """

    def note(error: OSError) -> None:
        closed.append(LeftOut(Path(error.filename), f"folder ({error.strerror})"))

    files, known = [], {os.path.realpath(folder)}
    for place, inner, names in os.walk(folder, onerror=note, followlinks=True):
        inner.sort()
        for name in list(inner):
            path = os.path.realpath(os.path.join(place, name))
            if _is_hidden(Path(name)) or path in known:
                inner.remove(name)
            known.add(path)
        files += [Path(place, name) for name in names if not _is_hidden(Path(name))]
    return files


def readable_name(name: str) -> str:
    """A file's name as text; bytes that are none, such as Latin-1 on a disk of today, are spelled.

    Example:
        >>> print(readable_name(os.fsdecode(b"gar\\xe7on")))
        gar\xe7on
    """
    return os.fsencode(name).decode(errors="backslashreplace")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.casefold() in _IGNORED
