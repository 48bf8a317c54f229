"""What MkDocs calls while it builds the site."""

from __future__ import annotations

import logging
import posixpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website import api, commands, definitions, links, raised
from website.public import ROOT, undocumented

_LOG = logging.getLogger("mkdocs.hooks.trtnn")  # a warning fails a strict build
_ASSETS = ("website/extra.css", "website/iframe-worker.js")


def on_startup(**_: object) -> None:
    """Write what griffe reads, before mkdocstrings looks for the folder: one that is not there it leaves out."""
    definitions.write_documented()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say what nothing documents."""
    for name in undocumented():
        _LOG.warning("nothing documents %s", name)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code and of other files, and put every page into the navigation."""
    texts = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in links.PAGES.items()}
    texts |= {"every_error.md": raised.page(), "every_option.md": commands.page(), **api.pages()}
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    for path in _ASSETS:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    config.nav = links.expand(config.nav or [], {file.src_uri for file in files.documentation_pages()})
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links to files of the repository those of the site."""

    def image(path: str) -> str:
        inside = posixpath.join("assets", posixpath.basename(path))
        if files.get_file_from_path(inside) is None:
            files.append(File.generated(config, inside, abs_src_path=str(ROOT / path)))
        return inside

    return links.site_links(markdown, page.file.src_uri, lambda path: (ROOT / path).exists(), image)
