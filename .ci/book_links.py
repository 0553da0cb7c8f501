"""book_links.py FOLDER: each relative link and image of the built book leads to a file of it, and to an anchor there.

`it reference` checks the Markdown; mdBook makes ids, page names and its own links, and has no file from outside docs/.
Links to other hosts are not fetched.
"""
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path, root):
        super().__init__()
        self.folder, self.ids, self.links = path.parent, set(), []
        self.root = root
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.update(attrs[key] for key in ("id", "name") if attrs.get(key) and (key == "id" or tag == "a"))
        if tag == "base":  # 404.html, which a server sends for any address
            self.folder = self.root
            return
        self.links += [(tag, attrs[key]) for key in ("href", "src") if attrs.get(key) is not None]
        self.links += [(tag, one.split()[0]) for one in (attrs.get("srcset") or "").split(",") if one.strip()]


root = Path(sys.argv[1]).resolve()
pages = {path: Page(path, root) for path in sorted(root.rglob("*.html"))}
links = images = 0
broken = []
for path, page in pages.items():
    for tag, link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        links += 1
        images += tag in ("img", "source")
        target = (page.folder / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        anchor = unquote(parts.fragment)
        if not target.is_file() or not target.is_relative_to(root):
            broken.append(f"{path.relative_to(root)}: {link}: no such file in the book")
        elif anchor and target in pages and anchor not in pages[target].ids:
            broken.append(f"{path.relative_to(root)}: {link}: no such anchor")
print("\n".join(broken) or f"book: {links} links and {images} images lead somewhere, on {len(pages)} pages")
sys.exit(bool(broken) or images == 0)
