"""What griffe calls for each docstring that it reads."""

from __future__ import annotations

from typing import Any

import griffe

from website.docstrings import as_markdown
from website.public import entries


class Markdown(griffe.Extension):
    """Makes every docstring Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value, entries())
