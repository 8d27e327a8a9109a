"""What mkdocs does beside its own: files outside of docs/ that a page links to come along; the notebook is a page."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
CONSOLE = re.compile(r"```console\n(.*?)\n```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the notebook as a page, and every file of the project that a page links to."""
    notebook = ROOT / "docs" / "tutorial.ipynb"
    files.append(File.generated(config, "notebook.md", content=as_page(json.loads(notebook.read_text("utf-8")))))
    for page in [file for file in files if file.src_uri.endswith(".md") and file.abs_src_path]:
        for target in outside(page.src_uri, Path(page.abs_src_path).read_text("utf-8")).values():
            if files.get_file_from_path(target) is None and (ROOT / target.removeprefix("files/")).is_file():
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target.removeprefix("files/"))))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads links that leave docs/ to the files that came along."""
    targets = outside(page.file.src_uri, markdown)
    here = posixpath.dirname(page.file.src_uri)

    def leading(found: re.Match[str]) -> str:
        target = targets.get(found[1])
        if target is None:
            return found[0]
        return f"]({posixpath.relpath(target, here or '.')}{found[2] or ''})"

    return CONSOLE.sub(without_prompts, LINK.sub(leading, markdown))


def without_prompts(block: re.Match[str]) -> str:
    """Commands without output lose their `$`, so that what is copied can be pasted."""
    lines = block[1].splitlines()
    if not all(line.startswith("$ ") for line in lines):
        return block[0]
    return "```sh\n" + "\n".join(line[2:] for line in lines) + "\n```"


def on_post_build(config: Any) -> None:
    """Nothing is fetched from elsewhere: one script comes along, and what would be for pages that are not here goes."""
    site = Path(config["site_dir"])
    shutil.copy(Path(__file__).with_name("iframe-worker.js"), site / "assets" / "javascripts")
    for page in site.rglob("*.html"):
        near = posixpath.relpath("assets/javascripts/iframe-worker.js", page.parent.relative_to(site).as_posix())
        page.write_text(page.read_text("utf-8").replace("https://unpkg.com/iframe-worker/shim", near), "utf-8")
    for script in (site / "assets" / "javascripts").glob("*.js*"):
        text = script.read_text("utf-8")
        if script.suffix == ".map":
            script.unlink()
        elif "https://unpkg.com/" in text:
            script.write_text(text.replace("https://unpkg.com/", "assets/"), "utf-8")


def outside(page: str, markdown: str) -> dict[str, str]:
    """Link to place in the site, of each link of a page that leads to a file outside of docs/."""
    found = {}
    for link, _ in LINK.findall(markdown):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
        if link == "tutorial.ipynb":
            found[link] = "notebook.md"
        elif not path.startswith(("docs/", "..")) and (ROOT / path).is_file():
            found[link] = f"files/{path}.txt" if path.endswith(".md") else f"files/{path}"
    return found


def as_page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its texts, its code and what the code printed."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        printed = "".join("".join(o.get("text") or o.get("data", {}).get("text/plain", ())) for o in cell["outputs"])
        if printed.strip():
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
