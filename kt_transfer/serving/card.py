"""The model card: what a version is, in words, for those who serve it and did not train it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kt_transfer.reporting.markdown import as_table
from kt_transfer.serving.requests import as_json
from kt_transfer.serving.saved_model import ANSWER, REQUEST, Served
from kt_transfer.serving.server import curl_line, docker_line, grpc_lines

# Longer requests and answers stand in their files alone.
_LONGEST = 600


def model_card(name: str, version: str, folder: Path, about: dict[str, str], served: Served) -> str:
    """The text of a version's ``README.md``.

    Args:
        name: Name of the served model.
        version: Its number.
        folder: The complete version, every file of which is listed with its hash.
        about: Sections on what it is and where it comes from, by their heads; empty ones are left
            out.
        served: What is served.

    Returns:
        Markdown, without the name of any folder of this machine.
    """
    sections = about | {
        "Signatures": _signatures(served),
        "How to serve it": _how_to_serve(name, version, served),
        "Files": _files(folder),
    }
    parts = [f"# {name}, version {version}"]
    parts += [f"## {head}\n\n{body}" for head, body in sections.items() if body]
    return "\n\n".join(parts) + "\n"


def _how_to_serve(name: str, version: str, served: Served) -> str:
    parts = [
        f"In the folder that holds `{name}/`, by REST on port 8501 and by gRPC on port 8500:",
        _code(docker_line(name, name)),
        f"A request, and its answer ([{REQUEST}]({REQUEST}), [{ANSWER}]({ANSWER})):",
        _code(curl_line(f"{name}/{version}/{REQUEST}", name)),
    ]
    shown = [as_json(served.request), as_json(served.answer)]
    if max(map(len, shown)) <= _LONGEST:
        parts.append(_code("\n".join(shown), "json"))
    parts += ["The same by gRPC:", _code(grpc_lines(f"{name}/{version}").strip(), "python")]
    return "\n\n".join(parts)


def _signatures(served: Served) -> str:
    rows = []
    for name, (inputs, outputs) in served.signatures.items():
        for kind, specs in (("takes", inputs), ("gives", outputs)):
            for key, spec in sorted(specs.items()):
                shape = ", ".join("n" if size is None else str(size) for size in spec.shape)
                rows.append([f"`{name}`", kind, f"`{key}`", spec.dtype.name, f"({shape})"])
    return as_table(["signature", "", "name", "type", "shape"], rows)


def _files(folder: Path) -> str:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return as_table(
        ["file", "bytes", "sha256"],
        [
            [f"`{path.relative_to(folder)}`", path.stat().st_size, _sha256(path)]
            for path in paths
            if path != folder / "README.md"
        ],
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return f"`{hashlib.file_digest(file, 'sha256').hexdigest()}`"


def _code(text: str, language: str = "bash") -> str:
    return f"```{language}\n{text}\n```"
