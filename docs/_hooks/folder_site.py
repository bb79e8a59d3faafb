"""A site that is read from a folder: without the pages that only a server would hand out."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> None:
    """No 404 page, whose addresses begin at a server's root."""
    config.theme.static_templates -= {"404.html"}
