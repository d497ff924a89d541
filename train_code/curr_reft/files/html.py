"""What the project's pages share: templates filled with anybody's text, and images inside the page."""

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from curr_reft.files.text import visible


def render_template(template: Path, lstrip_blocks: bool = False, **values: Any) -> str:
    """A page from a Jinja template, in which markup is escaped and what would not be seen is spelled.

    A template may extend ``page.html.j2``, the head and style that pages share.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=lstrip_blocks,
    )
    return environment.get_template(template.name).render(values)


def jpeg_uri(image: Image.Image, **options: Any) -> str:
    """An image as a data URI; JPEG, so that a page of many photographs stays small."""
    data = io.BytesIO()
    image.save(data, "JPEG", **options)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
