"""Directives beyond Markdown: commands with a word on what they need, text from the code; and diagrams within a page.

A fence of commands (`docs.blocks` explains its first line) becomes a highlighted block with a line above it. The
directive `{generated} NAME` is replaced by the Markdown that the module `docs.generated.NAME` returns.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from typing_extensions import override

from docs.blocks import NEEDS, PROGRAMS, Covered, Mark, Needs, Run, UnknownMarkError, mark_of

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_FORWARD: Final = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")

_DIAGRAM: Final = re.compile(
    r'<object data="([^"]+\.svg)" type="image/svg\+xml" class="graphviz">\s*<p class="warning">(.*?)</p>\s*</object>',
    re.DOTALL,
)

FENCES: Final = tuple(sorted(PROGRAMS))


class Commands(SphinxDirective):
    """A fence of commands."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    @override
    def run(self) -> list[nodes.Node]:
        words = self.arguments[0] if self.arguments else ""
        try:
            mark = mark_of(self.name, words)
        except UnknownMarkError as error:
            raise self.error(str(error)) from None
        text = "\n".join(self.content)
        block = nodes.literal_block(text, text, language=self.name)
        self.set_source_info(block)
        above = _above(mark)
        return [block] if above is None else [nodes.paragraph("", "", *above, classes=["mark"]), block]


def _above(mark: Mark) -> list[nodes.Node] | None:
    match mark:
        case Run(background=None):
            return None
        case Run(background=""):
            return [nodes.Text("In a terminal of its own:")]
        case Run(background=words):
            return [nodes.Text(f"In a terminal of its own; go on when it says “{words}”:")]
        case Needs(reason):
            return [nodes.Text(f"Needs {NEEDS[reason]}:")]
        case Covered():
            return None  # which test it is, developers read in the source


class Generated(SphinxDirective):
    """`{generated} NAME`: what `docs.generated.NAME.markdown()` returns."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    @override
    def run(self) -> list[nodes.Node]:
        module = import_module(f"docs.generated.{self.arguments[0]}")
        return self.parse_text_to_nodes(module.markdown(), allow_section_headings=True)


def _shorter(*passed: Any) -> tuple[str, str] | None:  # noqa: ANN401 - what Sphinx passes: the signature is the last but one
    """Return a signature in which names of types are just names."""
    signature, returned = passed[-2:]
    if signature is None:
        return None
    return _FORWARD.sub(r"\1", signature), _FORWARD.sub(r"\1", returned or "")


def _decision(app: Sphinx, _document: nodes.document) -> None:
    """Leave decisions out of the tree beside every page: the table of them leads there, and they made half of it."""
    if re.match(r"adr/\d", app.env.docname):
        app.env.metadata[app.env.docname]["orphan"] = True


def _diagrams_within(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _document: nodes.document | None
) -> None:
    """Put each diagram itself where the page names its file: it shrinks with the page, and has the page's colours."""

    def drawing(found: re.Match[str]) -> str:
        file, words = found.groups()
        name = Path(file).name  # beside `_images` there is no folder of the page so far
        svg = (Path(app.outdir) / app.builder.imagedir / name).read_text("utf-8")
        text = re.sub(r"<!--.*?-->|<title>.*?</title>| id=\"[^\"]*\"", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        return text.replace("<svg", f'<svg role="img" aria-label="{words.strip()}"', 1)

    if "body" in context:
        context["body"] = _DIAGRAM.sub(drawing, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known."""
    for language in FENCES:
        app.add_directive(language, Commands)
    app.add_directive("generated", Generated)
    app.connect("autodoc-process-signature", _shorter)
    app.connect("doctree-read", _decision)
    app.connect("html-page-context", _diagrams_within)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
