"Sphinx settings. The pages are made by scripts/docsrc.py from nbs/; here is only how they look and how they are searched."
import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert as mathml
from sphinx.search import SearchLanguage, languages

project, author, language = "crmlab", "The crmlab authors", "en"
extensions = ["myst_nb"]
html_theme, html_title = "sphinx_book_theme", "crmlab"
html_show_sourcelink = html_copy_source = html_show_sphinx = html_show_copyright = False
html_theme_options = dict(show_navbar_depth=1, show_toc_level=2, use_download_button=False, use_fullscreen_button=False, navbar_persistent=[])
html_static_path, html_css_files = ["_static"], ["crmlab.css"]
nb_execution_mode = "off"     # the outputs are those that `make prepare` stored in the notebooks
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "strikethrough"]
suppress_warnings = ["myst.header", "myst.strikethrough"]


class Bigrams(SearchLanguage):
    "Full-text search over words and Japanese bigrams: split the same way in Python (index) and JavaScript (query)."
    lang, language_name = "ja", "Japanese"
    cjk = "\u3005-\u30ff\u3400-\u9fff\uff66-\uff9f"
    js_splitter_code = r"""var splitQuery = q => (q.match(/[%s]+|[^\W%s]+/gu) || []).flatMap(w =>
      /[%s]/.test(w) && w.length > 2 ? [...w].slice(0, -1).map((c, i) => c + [...w][i + 1]) : [w]);""" % (cjk, cjk, cjk)  # noqa: UP031

    def split(self, text):
        for word in re.findall(f"[{self.cjk}]+|[^\\W{self.cjk}]+", text):
            if re.match(f"[{self.cjk}]", word): yield from (word[i:i + 2] for i in range(max(1, len(word) - 1)))
            else: yield word

    def word_filter(self, word): return True


languages["ja"] = Bigrams
html_search_language = "ja"


# maths as MathML when the page is built: no script, nothing fetched when it is read
def inline_maths(self, node):
    self.body.append(mathml(node.astext()))
    raise SkipNode


def block_maths(self, node):
    self.body.append(f'<div class="crmlab-maths">{mathml(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app): app.add_html_math_renderer("mathml", (inline_maths, None), (block_maths, None))


html_math_renderer = "mathml"
